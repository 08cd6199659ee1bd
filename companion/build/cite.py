"""How to cite paper and companion, in BibTeX: the facts are those of ``CITATION.cff``."""

import yaml

from companion import ROOT

FILE = "cite.bib"  # beside the page "Bibliography"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def facts():
    """What ``CITATION.cff`` says.

    Examples
    --------
    >>> facts()["type"]
    'software'
    """
    return yaml.safe_load((ROOT / "CITATION.cff").read_text())


def bibtex(address=""):
    """The entries of the paper and of the companion.

    Parameters
    ----------
    address : str
        Of the repository; left out where it is not known.

    Examples
    --------
    >>> [line for line in bibtex().splitlines() if line.startswith("@")]
    ['@misc{annamalai2022,', '@software{batchnorm-rate,']
    """
    companion = facts()
    [paper] = companion["references"]
    released = companion["date-released"]
    number = paper["doi"].partition("arXiv.")[2]
    paper_entry = _entry(
        "misc",
        f"{paper['authors'][0]['family-names'].lower()}{paper['year']}",
        author=_people(paper["authors"]),
        title=f"{{{paper['title']}}}",
        year=paper["year"],
        eprint=number,
        archivePrefix="arXiv",
        doi=paper["doi"],
        url=paper["url"],
    )
    own_entry = _entry(
        "software",
        "batchnorm-rate",
        author=_people(companion["authors"]),
        title=f"{{{companion['title']}}}",
        version=companion["version"],
        year=released.year,
        month=MONTHS[released.month - 1],
        url=address,
    )
    return f"{paper_entry}\n{own_entry}"


def _people(authors):
    """Names as BibTeX takes them; one of an organization stays as it is."""
    names = (
        f"{{{one['name']}}}" if "name" in one else f"{one['family-names']}, {one['given-names']}" for one in authors
    )
    return " and ".join(names)


def _entry(kind, key, **fields):
    lines = (f"  {name} = {value if name == 'month' else f'{{{value}}}'}" for name, value in fields.items() if value)
    return f"@{kind}{{{key},\n" + ",\n".join(lines) + "\n}\n"
