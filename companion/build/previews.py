"""Previews: what a link leads to, made while the site is built and shown while the pointer or the keyboard is on it.

What stands on the page itself, `previews.js` clones there. Of what stands on another page this module puts a few words, and
formulas as MathML, into a `template` of the page: once, and inert until it is asked for.
"""

import posixpath
import re
from functools import cache

LINK = re.compile(r'<a\b[^>]*\bhref="([\w.-]*\.html)#([^"]+)"[^>]*>')
CLAIMS = "book/claims.html"
# what these pages list they say themselves
LISTS = {CLAIMS: "check", "book/teach.html": "figure"}
LONGEST = 4000  # bytes of a theorem that no claim says in short


def added(pages):
    """The pages with a template for every theorem, figure, citation, term and check of another page that they link to.

    Parameters
    ----------
    pages : dict of str to str
        Text by path in the site.

    Returns
    -------
    dict of str to str
    """
    known = cache(lambda path, anchor: preview(pages, path, anchor))
    return {name: _with_templates(name, page, known) for name, page in pages.items()}


def _with_templates(name, page, known):
    start, end = page.find("<article"), page.rfind("</article>")
    if start < 0:
        return page
    article, made = page[start:end], {}
    for file, anchor in dict.fromkeys(LINK.findall(article)):
        path = posixpath.join(posixpath.dirname(name), file)
        kind, words = ("", "") if path == name else known(path, anchor)
        if kind and kind != LISTS.get(name):
            made[f"{file}#{anchor}"] = words
    for address in made:
        article = re.sub(rf'(<a\b[^>]*\bhref="{re.escape(address)}")\s+title="[^"]*"', r"\1", article)  # said twice
    templates = "".join(f'<template data-of="{address}">{words}</template>\n' for address, words in made.items())
    return page[:start] + article + templates + page[end:]


def preview(pages, path, anchor):
    """What is said of the place `anchor` of the page `path`.

    Parameters
    ----------
    pages : dict of str to str
    path, anchor : str

    Returns
    -------
    kind : {"term", "theorem", "check", "figure", "citation", ""}
        None of them where a link says enough.
    words : str
        HTML without links and ids.

    Examples
    --------
    >>> page = '<dl><dt id="term-rate">rate</dt><dd><p>How <em>strong</em>. <a href="rate.html">The rate</a></p></dd></dl>'
    >>> preview({"book/glossary.html": page}, "book/glossary.html", "term-rate")
    ('term', '<p><strong>rate</strong></p><p>How <em>strong</em>.</p>')
    """
    page = pages.get(path, "")
    place = page.find(f' id="{anchor}"')
    if place < 0:
        return "", ""
    place = page.rfind("<", 0, place)
    opening = page[place : page.index(">", place)]
    if anchor.startswith("term-"):
        definition = element(page, page.index("<dd", place))
        first = element(definition, definition.index("<p"))
        return "term", _titled(element(page, place), re.sub(r"\s*<a\b[^>]*>(?:(?!</a>).)*</a>(?=</p>$)", "", first))
    if "proof" in opening and "admonition" in opening:
        return "theorem", _theorem(pages, element(page, place), anchor)
    if anchor.startswith("check-"):
        row = element(page, page.rindex("<details", 0, place))
        return "check", f"<p>{_plain(element(row, row.index('<summary')))}</p>"
    if "<figure" in opening:
        figure = element(page, place)
        caption = re.sub(r"<small.*", "", element(figure, figure.rindex("<figcaption")), flags=re.DOTALL)
        return "figure", f"<p>{_plain(caption)}</p>"
    if "citation" in opening:
        entry = element(page, place)
        return "citation", f"<p>{_plain(element(entry, entry.index('<p')))}</p>"
    return "", ""


def _theorem(pages, theorem, anchor):
    """Number and title, and what its claim says; of a corollary, what it says itself, up to a length."""
    title = element(theorem, theorem.index("<p"))
    claims, word = pages.get(CLAIMS, ""), anchor.removeprefix("thm-")
    place = claims.find(f' id="claim-{word}"')
    if anchor.startswith("thm-") and place >= 0:
        heading = claims.index("</h2>", place)
        return _titled(title, element(claims, claims.index("<p", heading)))
    said, rest = "", theorem[theorem.index("<section") :]
    for found in re.finditer(r"<p>|<div class=\"math", rest):
        block = _light(element(rest, found.start()))
        if len(said + block) > LONGEST:
            return _titled(title, said + "<p>…</p>")
        said += block
    return _titled(title, said)


def _titled(title, body):
    return f"<p><strong>{_plain(title)}</strong></p>{_light(body)}"


def _plain(text):
    """The same without the tags of blocks and links; formulas, stress and code stay."""
    return " ".join(re.sub(r"</?(?!/?(?:m\w+|em|strong|code|i)\b)[^>]*>", "", _light(text)).split())


def _light(text):
    """Formulas as MathML alone, which browsers draw; no links, ids or classes.

    Examples
    --------
    >>> _light('<p id="a">At <span class="katex"><span><math><mi>x</mi></math></span><span>x</span></span></p>')
    '<p>At <math><mi>x</mi></math></p>'
    """
    while (start := text.find('<span class="katex')) >= 0:
        formula = element(text, start)
        text = text.replace(formula, re.search(r"<math\b.*</math>", formula, flags=re.DOTALL)[0], 1)
    text = re.sub(r'</?semantics>|<annotation[^>]*>[^<]*</annotation>|<a class="headerlink.*?</a>', "", text)
    text = re.sub(r"</?(?:a|span)\b[^>]*>", "", text)
    return re.sub(r' (?:id|class|title|role)="[^"]*"', "", text)


def element(text, start):
    """The element whose tag begins at `start`, whole.

    Examples
    --------
    >>> element("<b><p>one<p>two</p></p> three</b>", 3)
    '<p>one<p>two</p></p>'
    """
    tag, depth = re.compile(r"<(\w+)").match(text, start)[1], 0
    for found in re.compile(rf"<(/?){tag}\b[^>]*>").finditer(text, start):
        depth += -1 if found[1] else 1
        if not depth:
            return text[start : found.end()]
    raise ValueError(f"text has no end of the element {tag!r} that begins at {start}; every element must be closed")
