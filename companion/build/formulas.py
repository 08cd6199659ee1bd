"""Formulas in fewer bytes: KaTeX writes long elements, class names and styles at every letter of every formula."""

import re
from collections import Counter
from itertools import count, product
from string import ascii_uppercase

TAG = re.compile(r"(<span\b[^>]*>|</span>)")
CLASSES, STYLE = re.compile(r' class="([^"]*)"'), re.compile(r' style="([^"]*)"')
OPENS = '<span class="katex-html"'
RULE = re.compile(r"([^{}]*)\{")
NAME = re.compile(r"\.(-?[A-Za-z_][\w-]*)")
OFTEN = 20  # times that a style is there before it pays to give it a name


def lighter(pages, css):
    """Short names for KaTeX's classes and for styles that are there often; elements that say nothing are left out.

    Parameters
    ----------
    pages : dict of str to str
    css : str
        The stylesheet of all pages.

    Returns
    -------
    pages : dict of str to str
    css : str

    Examples
    --------
    >>> formula = '<span class="katex"><span class="katex-html"><span class="mord mathnormal">x</span><span class="mord">1</span></span></span>'
    >>> pages, css = lighter({"a": formula}, ".katex .mathnormal{color:red}.mathnormal{top:0}")
    >>> pages["a"]
    '<span class="katex"><span class="katex-html"><i class="A">x</i>1</span></span>'
    >>> css
    '.katex .A{color:red}.mathnormal{top:0}.katex-html i{font-style:inherit}'
    """
    known = {name for selector in RULE.findall(css) if ".katex" in selector for name in NAME.findall(selector)}
    classes, styles = Counter(), Counter()
    for page in pages.values():
        for tag, _ in _tags(page):
            classes.update(known.intersection(_classes(tag)))
            styles.update(STYLE.findall(tag))
    often = [style for style, times in styles.most_common() if times >= OFTEN]
    taken = set(NAME.findall(css))
    free = (name for name in _short() if name not in taken)
    # by how often they are there, and by name where that is equal: the same site has the same names
    ranked = sorted([*classes.items(), *((style, styles[style]) for style in often)], key=lambda one: (-one[1], one[0]))
    short = {name: next(free) for name, _ in ranked if not name.startswith("katex")}
    pages = {name: _renamed(page, known, short) for name, page in pages.items()}
    css = RULE.sub(lambda found: _selector(found[1], short) + "{", css)
    # as binding as it was inside the element
    rules = (f".katex .{short[style]}{{{_binding(style)}}}" for style in sorted(often))
    return pages, f"{css}.katex-html i{{font-style:inherit}}" + "".join(rules)


def _short():
    """A to Z, AA to ZZ, and so on."""
    for length in count(1):
        yield from ("".join(letters) for letters in product(ascii_uppercase, repeat=length))


def _binding(style):
    return ";".join(f"{one} !important" for one in style.strip(";").split(";"))


def _classes(tag):
    found = CLASSES.search(tag)
    return found[1].split() if found else []


def _tags(page):
    """The tags of spans inside formulas, each with its place in ``TAG.split(page)``."""
    depth = 0
    for place, piece in enumerate(TAG.split(page)):
        if depth:
            depth += {"<span": 1, "</spa": -1}.get(piece[:5], 0)
            if depth and piece.startswith("<span"):
                yield piece, place
        elif piece.startswith(OPENS):
            depth = 1


def _renamed(page, known, short):
    pieces = TAG.split(page)
    inside = {place: tag for tag, place in _tags(page)}
    ends = []  # of the elements around
    for place in range(1, len(pieces), 2):
        if pieces[place] == "</span>":
            pieces[place] = ends.pop()
        elif place in inside:
            tag = _named(pieces[place], known, short)
            ends.append("" if tag == "<span>" else "</i>")
            pieces[place] = "" if tag == "<span>" else tag.replace("<span", "<i", 1)
        else:
            ends.append("</span>")
    return "".join(pieces)


def _named(tag, known, short):
    kept, style = [short.get(name, name) for name in _classes(tag) if name in known], STYLE.search(tag)
    if style and style[1] in short:
        kept.append(short[style[1]])
        tag = tag.replace(style[0], "")
    tag = CLASSES.sub("", tag)
    return tag.replace("<span", f'<span class="{" ".join(kept)}"' if kept else "<span", 1)


def _selector(text, short):
    if ".katex" not in text:
        return text
    text = re.sub(r"(?<![\w.#-])span(?![\w-])", "i", text)
    return NAME.sub(lambda found: f".{short.get(found[1], found[1])}", text)
