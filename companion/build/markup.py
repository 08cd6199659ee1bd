"""What is changed in the text of a page: drawings instead of an icon script, lighter figures, the theme's faults."""

import re
from functools import lru_cache

from companion.build import BuildFailed

ICON = re.compile(r'<(i|span) class="([^"]*\bfa[srb]?[ -][^"]*)"([^>]*)></\1>')
DOES = {"window.print()": "print", "toggleFullScreen()": "fullscreen"}
FAULTS = {
    # the corner of a table is no heading
    "<th></th>": "<td></td>",
    # a bibliography is a list, and its role of old is deprecated
    'role="doc-biblioentry"': 'role="listitem"',
    ' xmlns="http://www.w3.org/1998/Math/MathML"': "",
    '<meta name="viewport" content="width=device-width, initial-scale=1"/>': "",
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
    page = re.sub(r'\bonclick="([^"]*)"', _handler, page)
    return re.sub(r"<svg role=\"img\".*?</svg>", lambda match: lighter(match[0]), page, flags=re.DOTALL)


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


def lighter(svg):
    """A figure with two decimals, without ids that nothing names, and its styles where they are shared.

    Examples
    --------
    >>> lighter('<svg role="img"><g id="a"><path id="b" d="M 1.23456 2 \\nL 3.999 4"/></g><use xlink:href="#b"/></svg>')
    '<svg role="img"><g><path id="b" d="M1.23 2L4 4"/></g><use href="#b"/></svg>'
    """
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)  # its one rule is in book.css
    svg = re.sub(r' (?:xmlns(?::xlink)?|version)="[^"]*"', "", svg).replace("xlink:href", "href")
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", svg))
    svg = re.sub(r' transform="rotate\(-?0 [^"]*"', "", svg)
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = re.sub(r' (d|points)="([^"]*)"', lambda match: f' {match[1]}="{_path(match[2])}"', svg)
    svg = re.sub(r' (x|y|width|height|transform)="([^"]*)"', lambda match: f' {match[1]}="{_rounded(match[2])}"', svg)
    svg = re.sub(r' style="([^"]*)"', _style, svg)
    svg = re.sub(r"(<g[^>]*>)?((?:\s*<use [^>]*/>)+)", _shared, svg)
    svg = re.sub(r">\s+<(?!/?tspan)", "><", svg)
    for _ in range(3):  # groups that say nothing
        svg = re.sub(r"<g></g>|<defs></defs>", "", svg)
    return svg


def _rounded(text):
    """Numbers with two decimals at most."""
    return re.sub(r"-?\d+\.\d+", lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), text)


def _path(text):
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", re.sub(r"\s+", " ", _rounded(text))).strip()


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
