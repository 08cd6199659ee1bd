"""From what Sphinx wrote to what is served: light pages, nothing that nobody asked for, and checksums of it all."""

import re

import yaml

from companion import ROOT
from companion.build import assets, checksums, markup, previews

GONE = (".buildinfo", "_static/webpack-macros.html", "_static/sbt-webpack-macros.html")
FRONT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{policy}
<title>{title}</title>
<meta http-equiv="refresh" content="0; url=book/index.html">
</head>
<body><main><h1>{title}</h1><p><a href="book/index.html">To the front page</a></p></main></body>
</html>
"""


def finish(site, address=""):
    """Make the site in the folder `site` ready to be served.

    Parameters
    ----------
    site : Path
    address : str
        Where it will be, for the map of the site; none where it is unknown.
    """
    icons = site / "_static" / "scripts" / "fontawesome.js"
    drawings = icons.read_text()
    plain = markup.neutral((site / "_static" / "pygments.css").read_text())
    for name in GONE:
        (site / name).unlink(missing_ok=True)
    pages = {path.relative_to(site).as_posix(): path.read_text() for path in sorted(site.rglob("*.html"))}
    title = yaml.safe_load((ROOT / "_config.yml").read_text())["title"]
    pages.pop("index.html", None)
    pages = {name: markup.mended(page, drawings) for name, page in pages.items()}
    pages = assets.join(site, previews.added(pages))
    if address:
        # a server shows this page at any depth
        pages["404.html"] = pages["404.html"].replace("<head>", f'<head>\n<base href="{address}">', 1)
        places = "".join(f"<url><loc>{address}{name}</loc></url>\n" for name in pages if name.startswith("book/"))
        sitemap = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{places}</urlset>\n'
        (site / "sitemap.xml").write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n{sitemap}')
    for name, page in {
        **pages,
        "index.html": FRONT.format(title=title, policy=assets.POLICY.format(assets.policy())),
    }.items():
        (site / name).write_text(markup.compact(_thinned(page), plain))
    (site / checksums.FILE).write_text(checksums.listed(site))


def _thinned(page):
    """Without empty lines outside of preformatted text."""
    parts = re.split(r"(<pre.*?</pre>)", page, flags=re.DOTALL)
    return "".join(part if part.startswith("<pre") else re.sub(r"\n\s*\n+", "\n", part) for part in parts)
