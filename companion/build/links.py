"""Links that nobody writes: from the first use of a term to the glossary, from a docstring to the proof that it names."""

import re
from functools import cache
from pathlib import Path

from docutils import nodes
from sphinx import addnodes

from companion.build.claims import listed

GLOSSARY = "book/glossary"
# pages that are lists themselves
LEFT_OUT = {GLOSSARY, *(f"book/{name}" for name in ("api", "bibliography", "built", "claims", "notation"))}
# where a link would stand in another one, in a heading or in code; and what is folded when a page opens
NOT_INSIDE = (nodes.title, nodes.reference, addnodes.pending_xref, nodes.literal, nodes.table, nodes.caption, nodes.raw)


def terms(text):
    """The terms of a glossary in MyST: the lines of its directive that are not indented.

    Examples
    --------
    >>> terms(":::{glossary}\\nrate\\n  How strong.\\n\\nat rest\\n  Where the gradient is zero.\\n:::\\n")
    ['rate', 'at rest']
    """
    block = re.search(r"^:::\{glossary\}\n(.*?)^:::", text, flags=re.MULTILINE | re.DOTALL)[1]
    return [line for line in block.splitlines() if line and not line[0].isspace()]


def link_first_uses(doctree, wanted, page):
    """Make the first use of each term in running text a reference to the glossary.

    Parameters
    ----------
    doctree : docutils.nodes.document
        Changed in place.
    wanted : sequence of str
    page : str
        Its name, for messages.
    """
    left = sorted(wanted, key=len, reverse=True)  # "L2-equivalent rate" before "rate"
    for text in [text for paragraph in doctree.findall(nodes.paragraph) for text in paragraph.findall(nodes.Text)]:
        if not left:
            return
        if any(isinstance(above, NOT_INSIDE) or "dropdown" in _classes(above) for above in _above(text)):
            continue
        parts, rest = [], str(text)
        while left and (
            found := re.search(rf"(?<![\w-])({'|'.join(map(re.escape, left))})(?![\w-])", rest, re.IGNORECASE)
        ):
            term = next(term for term in left if term.lower() == found[0].lower())
            left.remove(term)
            link = addnodes.pending_xref(
                "", nodes.inline("", found[0], classes=["term"]), refdomain="std", reftype="term", refdoc=page,
                reftarget=term, refexplicit=True, refwarn=True,
            )  # fmt: skip
            parts += [nodes.Text(rest[: found.start()]), link]
            rest = rest[found.end() :]
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(rest)])


def _above(node):
    while node.parent is not None:
        node = node.parent
        yield node


def _classes(node):
    return node.get("classes", ()) if isinstance(node, nodes.Element) else ()


def _on_doctree_read(app, doctree):
    page = app.env.docname
    if page not in LEFT_OUT:
        link_first_uses(doctree, terms((Path(app.srcdir) / f"{GLOSSARY}.md").read_text()), page)


def link_theorems(lines, chapters):
    """Make "theorem noise" in a docstring a link to the chapter that proves it.

    Parameters
    ----------
    lines : list of str
        Of a docstring in reStructuredText; changed in place.
    chapters : dict of str to str
        From the theorem's word to its chapter.

    Examples
    --------
    >>> lines = ["Decay on gamma (theorem minibatch)."]
    >>> link_theorems(lines, {"minibatch": "minibatch"})
    >>> lines
    ['Decay on gamma (:doc:`theorem minibatch </book/minibatch>`).']
    """
    words = "|".join(sorted(map(re.escape, chapters), key=len, reverse=True))
    for number, line in enumerate(lines):
        lines[number] = re.sub(
            rf"\btheorem ({words})\b(?!-)", lambda found: f":doc:`{found[0]} </book/{chapters[found[1]]}>`", line
        )


@cache
def _proven():
    return {claim.name: claim.chapter for claim in listed() if claim.proven}


def _on_docstring(app, what, name, thing, options, lines):
    link_theorems(lines, _proven())


def setup(app):
    app.connect("doctree-read", _on_doctree_read)
    app.connect("autodoc-process-docstring", _on_docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
