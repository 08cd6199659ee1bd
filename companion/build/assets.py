"""One stylesheet and one script for all pages, of what Sphinx and the theme load piece by piece."""

import base64
import hashlib
import posixpath
import re
import zlib
from functools import cache
from pathlib import Path

import tinycss2

from companion import BOOK, ROOT
from companion.build import BuildFailed, fonts, formulas
from companion.build.node import esbuild

SCRIPTS = ROOT / "companion" / "scripts"
MODE = SCRIPTS / "mode.js"
OWN = ("page.js", "previews.js")
STYLE = re.compile(r'\s*<link\b[^>]*rel="(?:stylesheet|preload)"[^>]*>')
SCRIPT = re.compile(r"\s*<script\b([^>]*)>(.*?)</script>", re.DOTALL)
ADDRESS = re.compile(r'\b(?:href|src)="([^"?#]+)')
SEARCH = ("searchtools.js", "language_data.js", "searchindex.js")
# scripts that say something of one page; `page.js` and the theme's search form do the same from the page itself
OF_ONE_PAGE = ("DOCUMENTATION_OPTIONS.pagename", "// Activate the search field")
# icons are drawings in the page: see `companion.build.markup`
ICONS = "fontawesome"
# menus and titles that a browser has of its own: see `companion.build.markup`
BOOTSTRAP = "scripts/bootstrap.js"
# a script, and the class without which it has nothing to do
NEEDED_FOR = {"design-tabs.js": "sd-tab-label", "copybutton.js": "highlight"}
SMALL = 6000  # bytes: a font smaller than this is part of the stylesheet, and no request
# what the theme's script makes on sites that have versions, announcements or a sidebar to fold away, and tags that it names
UNUSED = re.compile(
    r"version-switcher|list-group|bd-header-|pst-(?:collapse|expand|squeeze|button)|highlight-link|(?:h[1-6]|figure|dl|body)$"
)
POLICY = '<meta http-equiv="Content-Security-Policy" content="{}">'
KEPT = (".woff2", "LICENSE.MIT", "LICENSE.txt", "moving.js")


def join(site, pages):
    """Put one stylesheet and one script in the place of all; what no page asks for any more is removed.

    Parameters
    ----------
    site : Path
        Its folder ``_static`` is changed.
    pages : dict of str to str
        Text by path, relative to `site`.

    Returns
    -------
    dict of str to str
        The pages with their new heads.
    """
    text = "".join(pages.values())
    classes = {name for one in re.findall(r'\bclass="([^"]*)"', text) for name in one.split()}
    scripts, styles = [], []
    for name, page in pages.items():
        scripts += [one for one in _scripts(name, page) if one not in scripts]
        styles += _styles(name, page)
    code = _code(site, scripts, classes)
    own = "".join(path.read_text() for path in (BOOK / "moving").glob("*.js"))
    # a script names a class in a string
    said = re.findall(r"""(["'`])((?:(?!\1)[^\\\n]|\\.)*)\1""", code + own)
    words = {word for _, text in said for word in re.findall(r"[A-Za-z_][\w-]*", text)}
    names = classes | {word for word in words if not UNUSED.match(word)} | {"JXGtext"}
    once = reversed(dict.fromkeys(reversed(styles)))  # the last of its name is the one that counts
    css = "".join(_style(site / path, site / "_static", names, frozenset(text)) for path in once)
    pages, css = formulas.lighter(pages, _without_idle_fonts(css))
    # messages for the theme's authors are left out; errors stay
    code = esbuild(*(f"--pure:console.{kind}" for kind in ("log", "debug", "info")), text=code)
    css = without_idle_properties(esbuild("--loader=css", text=css), code + own + "".join(pages.values()))
    files = {"_static/site.js": code, "_static/site.css": css}
    for name, content in files.items():
        (site / name).write_text(content)
    marks = {name: f"{name}?v={zlib.crc32(content.encode()):08x}" for name, content in files.items()}
    pages = {name: _headed(page, marks) for name, page in pages.items()}
    _sweep(site, pages, files["_static/site.css"])
    return pages


@cache
def mode_script():
    """The one script inside the pages: it has to run before anything is drawn."""
    return esbuild(MODE).strip()


def policy():
    """The content security policy in every page; styles are inline where mathematics and figures carry them."""
    digest = base64.b64encode(hashlib.sha256(mode_script().encode()).digest()).decode()
    return (
        f"default-src 'self'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'"
    )


def _scripts(page, text):
    """What a page runs, in the order in which a browser does: paths in the site, and code in the page."""
    now, later = [], []
    for attributes, body in SCRIPT.findall(text):
        source = ADDRESS.search(attributes)
        (later if "defer" in attributes else now).append(_place(page, source[1]) if source else body.strip())
    found = [one for one in now + later if not one.endswith((*SEARCH, BOOTSTRAP)) and ICONS not in one]
    return [one for one in found if not any(mark in one for mark in (*OF_ONE_PAGE, "dataset.mode ="))]


def _styles(page, text):
    return [_place(page, ADDRESS.search(link)[1]) for link in STYLE.findall(text) if "stylesheet" in link]


def _place(page, address):
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), address))


def _code(site, scripts, classes):
    """The scripts' text; one without its element on any page is left out."""
    needless = {name for name, one in NEEDED_FOR.items() if one not in classes}
    pieces = []
    for one in scripts:
        if one.endswith(".js"):
            if Path(one).name not in needless:
                pieces.append((site / one).read_text())
        elif "\n" in one:
            raise BuildFailed(f"a page has a script that `companion.build.assets` does not know:\n{one}")
        else:
            pieces.append(one)
    return "\n;".join([*pieces, *((SCRIPTS / name).read_text() for name in OWN)])


def _style(path, static, names, characters):
    """A stylesheet's rules for what is there, with the addresses as they are seen from `static`."""

    def seen(match):
        address = match[1].strip("\"'")
        if address.startswith(("data:", "#")):
            return match[0]
        file = path.parent / re.sub(r"[?#].*", "", address)
        if file.suffix == ".woff2":
            font = fonts.with_characters(file, characters)
            if len(font) < SMALL:
                return f"url(data:font/woff2;base64,{base64.b64encode(font).decode()})"
            file.write_bytes(font)
        return f"url({posixpath.relpath(file, static)})"

    css = re.sub(r',\s*url\([^)]*\.(?:woff|ttf)\)\s*format\("\w+"\)', "", path.read_text())
    imported = [path.parent / one for one in re.findall(r'@import "([^"]+)"', css)]
    css = purged(re.sub(r'@import "[^"]+";', "", css), names)
    css = re.sub(r"url\((\"[^\"]*\"|'[^']*'|[^)\"']*)\)", seen, css)
    return "".join(_style(one, static, names, characters) for one in imported) + css


def _without_idle_fonts(css):
    """Font faces of families that no rule names are left out."""
    faces = re.findall(r"@font-face\s*\{[^}]*\}", css)
    rest = re.sub(r"@font-face\s*\{[^}]*\}", "", css)
    family = re.compile(r"font-family:\s*[\"']?([\w -]+)")
    return "".join(face for face in faces if family.search(face)[1] in rest) + rest


def without_idle_properties(css, elsewhere):
    """A minified stylesheet without the custom properties that nothing reads.

    Parameters
    ----------
    css : str
    elsewhere : str
        Pages and scripts, which may read one too.

    Examples
    --------
    >>> without_idle_properties(":root{--a:var(--b);--b:1px;--c:red;top:var(--d)}.x{--c:blue}", "--d")
    ':root{top:var(--d)}'
    """
    while True:
        read = set(re.findall(r"var\((--[\w-]+)", css)) | set(re.findall(r"--[\w-]+", elsewhere))
        idle = "|".join(sorted(set(re.findall(r"(?<=[{;])(--[\w-]+):", css)) - read))
        less = re.sub(rf"(?<=[{{;}}])(?:{idle}):[^;{{}}]*(?:;|(?=\}}))", "", css) if idle else css
        if less == css:
            return re.sub(r"(?<=[{}])[^{}@]+\{\}", "", css.replace(";}", "}"))
        css = less


def purged(css, names):
    """A stylesheet without the rules for classes and ids that are not among `names`.

    Examples
    --------
    >>> purged(".a .b, .c { color: red } @media print { .b { color: blue } } p:not(.b) { top: 0 }", {"a", "c"})
    '.c { color: red }p:not(.b) { top: 0 }'
    """
    rules = tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True)
    return "".join(_purged(rule, names) for rule in rules)


def _purged(rule, names):
    if rule.type == "at-rule" and rule.lower_at_keyword in ("media", "supports", "container"):
        inner = purged(tinycss2.serialize(rule.content), names)
        return f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{inner}}}" if inner else ""
    if rule.type == "at-rule" and "Awesome" in tinycss2.serialize(rule.content or []):
        return ""
    if rule.type == "qualified-rule":
        selectors, known = [[]], [True]
        for before, token in zip([None, *rule.prelude], rule.prelude):
            if token == ",":
                selectors.append([])
                known.append(True)
                continue
            selectors[-1].append(token)
            named = token.type == "hash" or (token.type == "ident" and before == ".")
            known[-1] &= not named or token.value in names
        kept = [tinycss2.serialize(one).strip() for one, keep in zip(selectors, known) if keep]
        return f"{','.join(kept)} {{{tinycss2.serialize(rule.content)}}}" if kept else ""
    return rule.serialize()


def _headed(page, marks):
    """A page whose head has the policy, and asks for one stylesheet and one script."""
    root = re.search(r'data-content_root="([^"]*)"', page)[1]
    head = f'{POLICY.format(policy())}\n<script>{mode_script()}</script>\n<link rel="stylesheet" href="{root}{marks["_static/site.css"]}">\n'
    head += f'<script defer src="{root}{marks["_static/site.js"]}"></script>'
    if "bd-search-container" in page:
        places = ((f"{root}{'' if name == 'searchindex.js' else '_static/'}{name}") for name in SEARCH)
        head += "".join(f'\n<script defer src="{place}"></script>' for place in places)
    page = SCRIPT.sub("", STYLE.sub("", page))
    return page.replace("</title>", f"</title>\n{head}", 1)


def _sweep(site, pages, css):
    """Remove from ``_static`` what no page and no stylesheet asks for."""
    asked = {_place(name, address) for name, page in pages.items() for address in ADDRESS.findall(page)}
    asked |= {f"_static/{address}" for address in re.findall(r"url\(([^)]+)\)", css)}
    for path in sorted((site / "_static").rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(site).as_posix() not in asked and not path.name.endswith(KEPT[1:]):
            path.unlink()
