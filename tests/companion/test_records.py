"""Records: plain data by one schema, which refuses what no page could show."""

import dataclasses
import json
import typing

import jsonschema
import pytest
from fastjsonschema import JsonSchemaValueException

from companion import records
from companion.records import Check, Figure, Finding, Rows, Source, Table, as_json, claims_schema, from_json

CHECK = Check(
    claim="noise",
    role="theorem",
    statement="1 + lambda, by the path",
    kind="numeric",
    relation="equal",
    measured=1.5,
    predicted=1.5,
    difference=0.0,
    tolerance=1e-9,
    low=None,
    high=None,
    interval_method=None,
    scale="plain",
    p_value=None,
    stands_in=None,
    repetitions=1,
    verdict="holds",
    dataset="mnist-5k",
    train_size=3000,
    conditions={"noise": 1.0, "hidden": [100]},
    seeds=[0, 1],
    anchor="check-1",
)
RECORDS = [
    CHECK,
    dataclasses.replace(CHECK, measured=None, predicted=None),
    dataclasses.replace(CHECK, kind="empirical", low=1.0, high=2.0, interval_method="t", verdict="undecided"),
    Figure("weights", "What to see", "a curve falls from 1 at 0 to 0.5 at 2.", "MNIST", "x,y\n0,1\n", "aGk="),
    Table("means", "closed form, no data"),
    Rows("runs.csv", "one network a row", "a,b\n1,2\n"),
    Finding("The rate is 1.50.", ["check-1"]),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_survives_as_json_and_is_frozen(record):
    plain = json.loads(json.dumps(as_json(record), allow_nan=False))
    assert records.TYPES[plain["type"]] is type(record)
    assert from_json(plain) == record
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, dataclasses.fields(record)[0].name, "other")


EMPIRICAL = RECORDS[2]
OUT_OF_RANGE = {
    "log": (-9.0e-05, 1.5e-04, 3e-5),
    "correlation": (-1.49, 0.54, -0.5),
    "share": (0.975, 1.011, 0.993),
    "points": (-20.0, 101.0, 40.0),
    "angle": (80.0, 92.0, 86.0),
}


def with_interval(scale, low, high, measured):
    return dataclasses.replace(EMPIRICAL, scale=scale, low=low, high=high, measured=measured)


@pytest.mark.parametrize("scale", OUT_OF_RANGE)
def test_an_interval_beyond_the_range_of_its_quantity_is_no_record(scale):
    low, high, measured = OUT_OF_RANGE[scale]
    with pytest.raises(ValueError, match=rf"is \[{low}, {high}\]; on the scale '{scale}' it must lie from"):
        with_interval(scale, low, high, measured)
    plain = as_json(with_interval("plain", low, high, measured))  # the same numbers are, where nothing bounds them
    with pytest.raises(ValueError, match="it must lie from"):
        from_json(plain | {"scale": scale})
    bottom, top = records.RANGES[scale]
    as_json(with_interval(scale, max(low, bottom), min(high, top), measured))  # its ends are part of it


@pytest.mark.parametrize(
    "low, high, measured, message",
    [
        (-0.71, -0.71, -0.71, "it must have a width: where seeds agree there is no interval"),
        (2.0, 1.0, 1.5, "it must have a width"),
        (float("nan"), 2.0, 1.5, "it must have a width"),
        (1.0, None, 1.5, "it must have two ends or none"),
        (None, 1.0, 0.5, "it must have two ends or none"),
        (1.0, 2.0, 2.5, "it must hold what was measured, 2.5"),
        (1.0, 2.0, None, "it must hold what was measured, None"),
    ],
)
def test_an_interval_that_is_none_is_no_record(low, high, measured, message):
    with pytest.raises(ValueError, match=message):
        with_interval("plain", low, high, measured)


def test_every_scale_has_a_range():
    assert list(records.RANGES) == list(typing.get_args(records.ScaleName))


WRONG = {
    "role": "proof",
    "kind": "proven",
    "relation": "near",
    "scale": "size",
    "verdict": "true",
    "measured": "1.5",
    "difference": None,
    "repetitions": 1.5,
    "train_size": "3000",
    "conditions": [],
    "seeds": ["0"],
    "claim": None,
    "anchor": 1,
}


@pytest.mark.parametrize("field", WRONG)
def test_a_field_with_a_wrong_value_is_refused_both_ways(field):
    with pytest.raises(JsonSchemaValueException, match="(?s).*"):
        as_json(dataclasses.replace(CHECK, **{field: WRONG[field]}))
    with pytest.raises(JsonSchemaValueException):
        from_json(as_json(CHECK) | {field: WRONG[field]})


def test_a_field_too_many_or_too_few_is_refused():
    with pytest.raises(JsonSchemaValueException, match="colour"):
        from_json(as_json(CHECK) | {"colour": "red"})
    for field in dataclasses.fields(Check):
        plain = as_json(CHECK)
        del plain[field.name]
        with pytest.raises(JsonSchemaValueException, match=f"{field.name}"):
            from_json(plain)


def test_the_schema_of_the_claims_is_one_and_knows_every_field():
    schema = claims_schema()
    jsonschema.validators.validator_for(schema).check_schema(schema)
    check = {name: value for name, value in as_json(CHECK).items() if name != "type"}
    check |= {"profile": "quick", "chapter": "noise"}
    claim = {"name": "noise", "title": "Noise", "paper": "P3", "statement": "It falls.", "chapter": "noise"}
    claim |= {"proof": "thm-noise", "tests": ["tests/theorems/test_noise.py"], "verdict": "proven, checked"}
    claim |= {"figures": ["noise.html#noise-path"], "checks": [check]}
    jsonschema.validate([claim], schema)
    jsonschema.validate([claim | {"proof": None}], schema)
    for wrong in ({"proof": 1}, {"checks": [check | {"role": "proof"}]}, {"tests": "tests"}, {"more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate([claim | wrong], schema)
    for name in claim:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate([{key: value for key, value in claim.items() if key != name}], schema)
    for name in check:
        short = {key: value for key, value in check.items() if key != name}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate([claim | {"checks": [short]}], schema)


def test_a_source_in_words():
    assert str(records.CLOSED_FORM) == "closed form, no data"
    source = Source("mnist-5k", 3000, (0, 1), {"network": "784-100-10", "weight_decay": 1e-3, "widths": (4, 3)})
    assert str(source) == (
        "MNIST, 5,000-digit subset (3,000 rows), network 784-100-10, weight decay 0.001, widths 4, 3, seeds 0, 1"
    )
    assert str(Source(title="generated data", seeds=[2])) == "generated data, seed 2"


@pytest.mark.parametrize("value", [object(), {"a": 1}, [[1]], {1, 2}])
def test_conditions_are_plain(value):
    with pytest.raises(ValueError, match="conditions has noise = .*; it must be a plain number, text or list of them"):
        Source(conditions={"noise": value})
