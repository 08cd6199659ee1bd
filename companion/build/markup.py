"""What is changed in the text of a page: drawings instead of an icon script, lighter figures, the theme's faults."""

import re
from functools import lru_cache

from companion.build import BuildFailed

ICON = re.compile(r'<(i|span) class="([^"]*\bfa[srb]?[ -][^"]*)"([^>]*)></\1>')
# a menu that opens without a script
MENU = re.compile(
    r'<div class="(dropdown [^"]*)">\s*<button class="(btn dropdown-toggle)"[^>]*(aria-label="[^"]*")>(.*?)</button>'
    r'\s*<ul class="dropdown-menu">(.*?)</ul>\s*</div>',
    re.DOTALL,
)
DOES = {"window.print()": "print", "toggleFullScreen()": "fullscreen"}
PRE = re.compile(r'<span class="pre">([^<]*)</span>')
FAULTS = {
    # the corner of a table is no heading
    "<th></th>": "<td></td>",
    # a bibliography is a list, and its role of old is deprecated
    'role="doc-biblioentry"': 'role="listitem"',
    ' xmlns="http://www.w3.org/1998/Math/MathML"': "",
    '<meta name="viewport" content="width=device-width, initial-scale=1" />': "",
}


def mended(page, drawings):
    """The page as it is served.

    Parameters
    ----------
    page : str
    drawings : str
        The theme's script that has the icons: where it is, they are.
    """
    for wrong, right in FAULTS.items():
        page = page.replace(wrong, right)
    # the theme puts its logo outside of every landmark
    page = re.sub(
        r'<a class="navbar-brand logo".*?</a>', r'<nav aria-label="Front page">\g<0></nav>', page, flags=re.DOTALL
    )
    page = ICON.sub(lambda match: _icon(match, drawings), page)
    page = MENU.sub(
        r'<details class="\1"><summary class="\2" \3>\4</summary><ul class="dropdown-menu">\5</ul></details>', page
    )
    # the browser shows a title by itself
    page = re.sub(r' data-bs-(?:toggle|placement)="\w+"', "", page).replace(" data-bs-title=", " title=")
    page = re.sub(r'<dt class="sig.*?</dt>', lambda found: PRE.sub(r"\1", found[0]), page, flags=re.DOTALL)
    page = re.sub(r'\bonclick="([^"]*)"', _handler, page)
    names = {}
    return re.sub(r"<svg role=\"img\".*?</svg>", lambda match: lighter(match[0], names), page, flags=re.DOTALL)


def neutral(css):
    """Classes of highlighted code that look as code does without them, in light and in dark.

    Parameters
    ----------
    css : str
        What Pygments made for both.

    Examples
    --------
    >>> style = 'html[data-theme="{}"] .highlight {{ color: {} }}\\nhtml[data-theme="{}"] .highlight .n {{ color: {} }}\\n'
    >>> neutral(style.format("light", "#000", "light", "#000") + style.format("dark", "#fff", "dark", "#fff"))
    {'n'}
    >>> neutral(style.format("light", "#000", "light", "#000") + style.format("dark", "#fff", "dark", "#aaa"))
    set()
    """
    found = []
    for theme in ("light", "dark"):
        rules = re.findall(rf'html\[data-theme="{theme}"\] \.highlight (?:\.(\w+) )?\{{ ([^}}]*?);? \}}', css)
        base = dict(rules).get("", "").split("; ")
        found.append({name for name, declared in rules if name and declared in base})
    return set.intersection(*found)


def compact(page, plain=frozenset()):
    """The same elements in fewer bytes: mathematics and code are most of a page.

    Parameters
    ----------
    page : str
    plain : set of str
        Classes of code that need no element: see `neutral`.

    Examples
    --------
    >>> compact('<span class="vlist" style="height:0.5em;"><span class="a b">x</span></span>')
    '<span class=vlist style=height:.5em><span class="a b">x</span></span>'
    >>> compact('<pre><span class="n">x</span> <span class="o">=</span></pre>', {"n"})
    '<pre>x <span class=o>=</span></pre>'
    """
    page = re.sub(
        r'<span class="(\w+)">([^<]*)</span>', lambda found: found[2] if found[1] in plain else found[0], page
    )
    # TeX beside MathML is for programs that ask for it: none does
    page = re.sub(r'</?semantics>|<annotation encoding="application/x-tex">[^<]*</annotation>', "", page)
    return re.sub(r'<(span|i)((?: (?:class|style|aria-hidden)="[^"]+")+)>', _unquoted, page)


def _unquoted(match):
    attributes = re.sub(r'(?<=[:-])0(?=\.\d)|;(?="$)', "", match[2])
    attributes = re.sub(r'="([^ "=<>`\']+)"', r"=\1", attributes)
    return f"<{match[1]}{attributes}>"


def _handler(match):
    if match[1] not in DOES:
        raise BuildFailed(f"a page has a handler that `companion/scripts/page.js` does not know: {match[1]}")
    return f'data-does="{DOES[match[1]]}"'


def _icon(match, drawings):
    """What Font Awesome's script would have put there."""
    _, classes, attributes = match.groups()
    name = next(one for one in re.findall(r"\bfa-([\w-]+)", classes) if one not in ("solid", "brands", "regular", "lg"))
    width, height, path = _drawing(name, drawings)
    attributes = re.sub(r'\s+title="[^"]*"', "", attributes)
    return (
        f'<svg class="svg-inline--fa {" ".join(classes.split())}"{attributes} aria-hidden="true" '
        f'viewBox="0 0 {width} {height}"><path fill="currentColor" d="{path}"/></svg>'
    )


@lru_cache
def _drawing(name, drawings):
    """Width, height and path; the last of that name is the solid one."""
    found = re.findall(rf'[{{,]"?{re.escape(name)}"?:\[(\d+),(\d+),\[[^\]]*\],"\w+","([^"]+)"\]', drawings)
    if not found:
        alias = re.findall(rf'"?([\w-]+)"?:\[\d+,\d+,\[[^\]]*"{re.escape(name)}"[^\]]*\]', drawings)
        if not alias:
            raise BuildFailed(f"the theme's script has no drawing for the icon {name!r}")
        return _drawing(alias[-1], drawings)
    return found[-1]


def lighter(svg, names):
    """A figure with two decimals, short ids, no groups that say nothing, and its styles where they are shared.

    Parameters
    ----------
    svg : str
    names : dict of str to str
        The page's short ids, to which those of this figure are added.

    Examples
    --------
    >>> lighter('<svg role="img"><g id="a"><path id="b" d="M 1.23456 2 \\nL 3.999 4"/></g><use xlink:href="#b"/></svg>', {})
    '<svg role="img"><path id="f.0" d="M1.23 2l2.77 2"/><use href="#f.0"/></svg>'
    """
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)  # its one rule is in book.css
    svg = re.sub(r' (?:xmlns(?::xlink)?|version)="[^"]*"', "", svg).replace("xlink:href", "href")
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", svg))
    svg = re.sub(r' transform="rotate\(-?0 [^"]*"', "", svg)
    for one in sorted(used):
        names.setdefault(one, f"f.{len(names)}")
    svg = re.sub(r' id="([^"]*)"', lambda match: f' id="{names[match[1]]}"' if match[1] in used else "", svg)
    svg = re.sub(r'(url\(#|href="#)([^")]+)', lambda match: match[1] + names[match[2]], svg)
    svg = re.sub(r' (d|points)="([^"]*)"', lambda match: f' {match[1]}="{_steps(_path(match[2]))}"', svg)
    svg = re.sub(r' (x|y|width|height|transform)="([^"]*)"', lambda match: f' {match[1]}="{_rounded(match[2])}"', svg)
    svg = re.sub(r' style="([^"]*)"', _style, svg)
    svg = _said_once(svg)
    svg = re.sub(r"(<(?:text|tspan)\b[^>]*? style=\"[^\"]*?);?fill:currentColor", r"\1", svg)  # as `book.css` says
    svg = _ungrouped(re.sub(r"<!--.*?-->| style=\"\"|<defs>\s*</defs>", "", svg))
    svg = re.sub(r"(<g[^>]*>)?((?:\s*<use [^>]*/>)+)", _shared, svg)
    return re.sub(r">\s+<(?!/?tspan)", "><", svg)


def _ungrouped(svg):
    """Without the groups that have no attribute."""
    kept, open_ones = [], []
    for piece in re.split(r"(<g\b[^>]*>|</g>)", svg):
        if piece.startswith("<g"):
            open_ones.append(piece != "<g>")
        if not (piece == "<g>" or (piece == "</g>" and not open_ones.pop())):
            kept.append(piece)
    return "".join(kept)


def _rounded(text):
    """Numbers with two decimals at most."""
    return re.sub(r"-?\d+\.\d+", lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), text)


def _path(text):
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", re.sub(r"\s+", " ", _rounded(text))).strip()


def _steps(path):
    """Lines as steps, most of which are short; steps between rounded points are exact, so that nothing adds up.

    Examples
    --------
    >>> _steps("M10 20L10.5 20L9.5 -0.25L120.3 10.25zM1 1L2 2")
    'M10 20l.5 0-1-20.25 110.8 10.5zM1 1l1 1'
    """
    if not re.fullmatch(r"(?:[ML]-?[\d.]+ -?[\d.]+|z)+", path):
        return path
    here, last, made = (0, 0), "", ""
    for letter, x, y in re.findall(r"([MLz])(?:([^ MLz]+) ([^MLz]+))?", path):
        if letter == "z":
            made += letter
            continue
        there = round(100 * float(x)), round(100 * float(y))
        if letter == "M":
            made += f"M{x} {y}"
        else:
            step = "".join(f" {(b - a) / 100:g}" for a, b in zip(here, there))
            step = re.sub(r"\b0\.", ".", step).replace(" -", "-")
            made += step if last == "L" else f"l{step.lstrip()}"
        here, last = there, letter
    return made


def _said_once(svg):
    """Marks without what the path that they use says itself; what fills a mere line is not seen."""
    said = {}
    for name, shape, style in re.findall(r'<path id="([^"]+)" d="([^"]*)" style="([^"]*)"', svg):
        line = re.fullmatch(r"M[^MLlz]+l[^MLlz]+", shape)
        said[name] = {one.split(":")[0] for one in style.split(";")} | ({"fill"} if line else set())

    def less(match):
        kept = [one for one in match[3].split(";") if one.split(":")[0] not in said.get(match[1], ())]
        return f'<use href="#{match[1]}"{match[2]}' + (f' style="{";".join(kept)}"' if kept else "")

    return re.sub(r'<use href="#([^"]+)"([^>]*?) style="([^"]*)"', less, svg)


def _style(match):
    """A style without the fonts, which `book.css` names once, and without blanks."""
    kept = [one.strip() for one in re.split(r";(?![^(]*\))", match[1]) if one.strip() and "font-family" not in one]
    kept = [re.sub(r"font: ([\d.]+px) .*", r"font-size: \1", one) for one in kept]
    text = ";".join(re.sub(r"\s*:\s*", ":", _rounded(one)) for one in kept)
    return f' style="{text}"' if text else ""


def _shared(match):
    """Marks in a row that look the same say once how."""
    group, marks = match[1] or "", match[2]
    styles = set(re.findall(r' style="[^"]*"', marks))
    count = marks.count("<use ")
    if len(styles) != 1 or count < 3 or marks.count(" style=") != count:
        return match[0]
    style = styles.pop()
    plain = marks.replace(style, "")
    same = set(re.findall(r' href="[^"]*"', plain))
    return f"{group}<g{style}>{plain}</g>" if same else match[0]
