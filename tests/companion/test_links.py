"""The first use of a term on a page is a link to the glossary, and nothing else is."""

from docutils import nodes
from docutils.core import publish_doctree
from sphinx import addnodes

from companion import BOOK
from companion.build.links import link_first_uses, link_theorems, terms

TEXT = """
The rate
========

A *rate* is read. The L2-equivalent rate, ``rate``, and the Rate again; a rate-like word, separated.

.. container:: dropdown

   Nothing is at rest here.

At rest it is `a rate <https://example.org>`__.
"""


def linked(text, wanted):
    doctree = publish_doctree(text, settings_overrides={"report_level": 5})
    before = doctree.astext()
    link_first_uses(doctree, wanted, "page")
    assert doctree.astext() == before
    return [(link["reftarget"], link.astext(), link) for link in doctree.findall(addnodes.pending_xref)]


def test_the_first_use_is_linked_and_only_that():
    found = linked(TEXT, ["rate", "at rest", "L2-equivalent rate", "gauge"])
    assert [(term, words) for term, words, _ in found] == [
        ("rate", "rate"), ("L2-equivalent rate", "L2-equivalent rate"), ("at rest", "At rest")
    ]  # fmt: skip
    assert isinstance(found[0][2].parent, nodes.emphasis)  # not the heading's


def test_nothing_in_headings_code_links_and_folds():
    assert linked("rate\n====\n\n``rate`` and `rate <https://example.org>`__ and separate.", ["rate"]) == []


def test_the_terms_are_those_of_the_book():
    found = terms((BOOK / "glossary.md").read_text())
    assert len(found) == len(set(found)) >= 15
    assert {"rate", "effective weights", "Wiener factor"} <= set(found)


def test_a_docstring_links_the_chapter_of_its_theorem_and_no_other_word():
    lines = ["By theorem least-squares, part (i); theorem leaf, a theorem noise-like."]
    link_theorems(lines, {"least-squares": "least-squares", "noise": "signal"})
    assert lines == [
        "By :doc:`theorem least-squares </book/least-squares>`, part (i); theorem leaf, a theorem noise-like."
    ]
