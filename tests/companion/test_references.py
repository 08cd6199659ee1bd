"""Every reference can be followed: it has a DOI, a number at arXiv, or an address."""

import re

import pytest
from pybtex.database import parse_file, parse_string

from companion import BOOK

SHAPES = {"doi": r"10\.\d{4,9}/\S+", "eprint": r"\d{4}\.\d{4,5}", "url": r"https?://\S+"}
KNOWN = parse_file(BOOK / "references.bib").entries


def followed(entry):
    """Whether it has one of them, and each that it has is of the right shape."""
    given = {name: entry.fields[name] for name in SHAPES if name in entry.fields}
    return bool(given) and all(re.fullmatch(SHAPES[name], value) for name, value in given.items())


@pytest.mark.parametrize("key", KNOWN)
def test_a_reference_can_be_followed(key):
    assert followed(KNOWN[key])
    assert KNOWN[key].fields["year"] and KNOWN[key].persons["author"] and KNOWN[key].fields["title"]


def test_no_reference_is_there_twice():
    for name in SHAPES:
        given = [entry.fields[name] for entry in KNOWN.values() if name in entry.fields]
        assert len(set(given)) == len(given)


@pytest.mark.parametrize("field", ["year = 2020", "doi = {https://doi.org/10.1/x}", "eprint = {arXiv:1}"])
def test_control_a_reference_that_leads_nowhere_is_noticed(field):
    assert not followed(parse_string(f"@misc{{one, title = {{One}}, {field}}}", "bibtex").entries["one"])
