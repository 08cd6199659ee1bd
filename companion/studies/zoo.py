"""A zoo: networks of torchvision and timm, and whether what the meter says of each channel is true.

``python -m companion.studies.zoo`` goes through the smallest network of each family and prints the table.
"""

import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch

from bnlib import source
from bnlib.objects import choice
from companion import BUILD
from companion.studies import zoo_check

# small, and of many kinds: activations fused into the layer, several heads, shuffled and mixed channels, Linear,
# ConvTranspose2d, weights chosen by the input, weights that are standardized with the same function
SAMPLE = (
    "torchvision/resnet18",
    "torchvision/mobilenet_v2",
    "torchvision/densenet121",
    "torchvision/shufflenet_v2_x0_5",
    "torchvision/googlenet",
    "timm/efficientnet_lite0",
    "timm/resnet10t",
    "timm/tf_efficientnet_cc_b0_4e",
    "timm/mixnet_s",
    "timm/levit_128s",
    "timm/lowformer_b0",
    "timm/test_maxvit",
    "timm/test_nfnet",
)
VERSIONS = ("torch", *zoo_check.PACKAGES)
FOLDER = BUILD / "zoo"


def families(progress=False):
    """The smallest network of each family: of those with batch normalization, and of those without.

    A family is a module of torchvision or timm, and the letters that a name begins with.

    Parameters
    ----------
    progress : bool

    Returns
    -------
    pandas.DataFrame
        Columns ``network, family, members, parameters, normalized``. It takes minutes: all networks are built, though
        without memory for their weights.
    """
    members = defaultdict(list)
    everything = [(package, model) for package in zoo_check.PACKAGES for model in zoo_check.modules(package)]
    for package, model in _shown(everything, progress, "families"):
        try:
            with torch.device("meta"):
                network = zoo_check.bare(package, model)
        except NotImplementedError:  # it computes its widths with tensors, which needs their values
            network = zoo_check.bare(package, model)
        letters = re.match("[a-z]+", re.sub("^(test|tf|legacy)_", "", model))[0]
        family = f"{package} {zoo_check.modules(package)[model]}, {letters}"
        size = sum(parameter.numel() for parameter in network.parameters())
        members[family, bool(zoo_check.batch_norms(network))].append((size, f"{package}/{model}"))
    rows = [
        (min(found)[1], family, len(found), min(found)[0], normalized)
        for (family, normalized), found in members.items()
    ]
    return pd.DataFrame(rows, columns=["network", "family", "members", "parameters", "normalized"])


def networks(which="sample", progress=False, folder=FOLDER):
    """The names behind "sample" and "all".

    Parameters
    ----------
    which : {"sample", "all"} or sequence of str
        "all": the smallest network of each family, and the sample.
    progress : bool
    folder : Path
        Where the list of families is kept, for as long as the versions are the same.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If `which` is another word.

    Examples
    --------
    >>> networks()[0], networks(["timm/resnet10t"])
    ('torchvision/resnet18', ['timm/resnet10t'])
    """
    if not isinstance(which, str):
        return list(which)
    if choice("which", which, ("sample", "all")) == "sample":
        return list(SAMPLE)
    kept = folder / f"families-{'-'.join(version(package).split('+')[0] for package in VERSIONS)}.csv"
    if not kept.is_file():
        found = families(progress)
        folder.mkdir(parents=True, exist_ok=True)
        found.to_csv(kept, index=False)
    return list(dict.fromkeys([*pd.read_csv(kept).network, *SAMPLE]))


def examine_all(names, progress=False, folder=FOLDER):
    """`companion.studies.zoo_check.examine` of each; what the same code and versions found before is read again.

    Parameters
    ----------
    names : sequence of str
    progress : bool
    folder : Path
        Where rows are kept.

    Returns
    -------
    pandas.DataFrame
        A row a network, in the order of `names`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{source.digest(zoo_check.__file__, versions=VERSIONS)}.jsonl"
    rows = map(json.loads, kept.read_text().splitlines()) if kept.is_file() else ()
    known = {row["network"]: row for row in rows}
    for name in _shown(names, progress, "zoo"):
        if name not in known:
            line = json.dumps(zoo_check.examine(name))
            known[name] = json.loads(line)
            with kept.open("a") as file:
                file.write(f"{line}\n")
    return pd.DataFrame([known[name] for name in names])


def totals(found):
    """Sums over a zoo: networks, channels by what they have, reasons, worst differences, seconds.

    Parameters
    ----------
    found : pandas.DataFrame
        From `examine_all`.

    Returns
    -------
    dict
    """
    ran = found[found.problem == ""]
    return {
        "networks": len(found),
        "normalized": int((ran.layers > 0).sum()),
        "without": int((ran.layers == 0).sum()),
        "problems": int((found.problem != "").sum()),
        "wrong": int(found.wrong.map(len).gt(0).sum()),
        **{what: int(ran[what].sum()) for what in ("layers", "channels", "rated", "linked", "zero")},
        "reasons": dict(sum(map(Counter, ran.reasons), Counter()).most_common()),
        **{what: float(ran[what].max()) for what in zoo_check.LEFT},
        "seconds": float(found.seconds.sum()),
    }


def said(row):
    """What there is to say of a network in words: its reasons for NaN, or what is wrong.

    Parameters
    ----------
    row : named tuple
        Of `examine_all`.

    Returns
    -------
    str
    """
    if row.problem:
        return f"does not run: {row.problem.splitlines()[0]}"
    if row.wrong:
        return f"WRONG: {'; '.join(row.wrong)}"
    if not row.layers:
        return "nothing to measure, and the meter says so"
    return said_of(row.reasons)


def as_table(found):
    """The rows of a zoo as text, for readers.

    Parameters
    ----------
    found : pandas.DataFrame
        From `examine_all`.

    Returns
    -------
    pandas.DataFrame
    """
    columns = {
        "pixels": found.side.map("{0} × {0}".format),
        "channels": found.channels.map("{:,}".format),
        "with a rate": found.rated.map("{:,}".format),
        "in units of weight_decay": found.linked.map("{:,}".format),
        "off": found[list(zoo_check.LEFT)].max(axis=1).map("{:.0e}".format),
        "NaN, by reason": [said(row) for row in found.itertuples()],
    }
    return pd.DataFrame(columns).set_axis(found.network.rename(None))


def main(arguments=None):
    """Print the table of a zoo and its sums.

    Parameters
    ----------
    arguments : sequence of str, optional

    Returns
    -------
    int
        1 if anything is wrong or does not run, else 0.
    """
    parser = argparse.ArgumentParser(prog="python -m companion.studies.zoo", description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help="torchvision/… or timm/…, or the word sample (default: all)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a row a network to this file")
    options = parser.parse_args(arguments)
    which = options.networks or ["all"]
    names = networks(which[0], progress=True) if which[0] in ("sample", "all") else which
    found = examine_all(names, progress=True)
    table = as_table(found).assign(seconds=found.seconds.map("{:.1f}".format).to_numpy())
    print(table.to_string(max_colwidth=None))
    summed = totals(found)
    width = max(map(len, summed))
    for what, value in summed.items():
        print(f"{what:{width}}  {value:,}" if not isinstance(value, dict) else f"{what:{width}}  {said_of(value)}")
    if options.csv is not None:
        found.to_csv(options.csv, index=False)
    return int(bool(summed["wrong"] or summed["problems"]))


def said_of(reasons):
    """Reasons and their channels.

    Examples
    --------
    >>> said_of({"gamma is 0": 2000})
    'gamma is 0: 2,000'
    """
    return ", ".join(f"{word}: {count:,}" for word, count in reasons.items())


def _shown(items, progress, what):
    if not progress:
        return items
    from tqdm import tqdm

    return tqdm(items, desc=what, unit="network")


if __name__ == "__main__":
    sys.exit(main())
