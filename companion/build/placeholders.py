"""Numbers of this build in pages that are written in Markdown: each placeholder becomes what a chapter recorded.

A placeholder names a chapter and one of its checks by the beginning of its statement; three dots in it stand for what a
profile changes::

    {value}`noise-sweep: BN, untuned: slope, over noise levels`

- ``{value}`` gives number and interval, as a link to where they were made;
- ``{verdict}`` gives the verdict;
- ``{measured}`` gives number, claim, interval and verdict;
- ``{figure}`` names the anchor of a figure, and gives the figure;
- ``{speaks}`` gives the profile, the data and the seeds of the headlines;
- ``{weighed}`` gives what pages weigh: two chapters beside a default Jupyter Book (``pair``), or all (``every``).
- ``{faults}`` names a family of faults, and gives what came of them when they were last tried.
"""

import json
import re
from dataclasses import dataclass

from companion import BOOK
from companion.build import BuildFailed, figures, pages, weighed
from companion.build.claims import recorded

PLACEHOLDER = re.compile(r"\{(value|verdict|measured|figure|speaks|weighed|faults)\}`([^`]*)`")


class NothingFits(BuildFailed):
    """A placeholder names something that no chapter recorded, or more than one thing."""


@dataclass(frozen=True)
class Recorded:
    """What placeholders are filled from.

    Parameters
    ----------
    claims : list of dict
        From `companion.build.claims.collect`.
    titles : dict of str to str
        Chapter name to title.
    notebooks : dict of str to dict
        Executed notebooks by chapter name.
    profile : str
    """

    claims: list
    titles: dict
    notebooks: dict
    profile: str

    def filled(self, page, text):
        """A page in which every placeholder has become what it stands for.

        Parameters
        ----------
        page : str
            What an error calls it.
        text : str

        Raises
        ------
        NothingFits
        """

        def fill(placeholder):
            kind, words = placeholder[1], " ".join(placeholder[2].split())
            try:
                return getattr(self, f"_{kind}")(words)
            except NothingFits as error:
                raise NothingFits(f"{page}: {placeholder[0]} {error}") from None

        return PLACEHOLDER.sub(fill, text)

    def _check(self, words):
        chapter, _, beginning = words.partition(": ")
        start = re.compile(".+?".join(map(re.escape, beginning.split("..."))))
        checks = [check for claim in self.claims for check in claim["checks"]]
        there = [check for check in checks if check["chapter"] == chapter]
        fits = [check for check in there if start.match(check["statement"])]
        if len(fits) == 1:
            return fits[0]
        listed = "".join(f"\n- {check['statement']}" for check in fits or there) or f" {', '.join(self.titles)}"
        known = "they are" if fits else f"those of {chapter!r} are" if there else "the chapters are"
        raise NothingFits(f"fits {len(fits)} checks and has to fit one; {known}:{listed}")

    def _value(self, words):
        return pages.value(self._check(words))

    def _verdict(self, words):
        return f"**{self._check(words)['verdict']}**"

    def _measured(self, words):
        check = self._check(words)
        return pages.measurement(check, self.titles[check["chapter"]])

    def _figure(self, words):
        found = [one for one in recorded(self.notebooks, "figure") if one[1].anchor == words]
        if len(found) != 1:
            raise NothingFits(f"fits {len(found)} figures and has to fit one")
        [(chapter, record, markup)] = found
        number = figures.numbers(self.notebooks)[words]
        shown = figures.captioned(markup, record, number, chapter, self.profile)
        return f"```{{raw}} html\n{shown}\n```"

    def _speaks(self, _):
        return pages.speaks(self.claims)

    def _weighed(self, words):
        tables = {"pair": weighed.pair, "every": weighed.every}
        if words not in tables:
            raise NothingFits(f"is no table; they are: {', '.join(tables)}")
        return tables[words](weighed.recorded())

    def _faults(self, words):
        rows = [row for row in json.loads((BOOK / "faults.json").read_text()) if row["family"] == words]
        if not rows:
            raise NothingFits("fits no family of faults that was tried; `make faults` tries them")
        return pages.faults(rows)
