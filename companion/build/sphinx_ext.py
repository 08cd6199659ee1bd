"""Offers source and notebook of a chapter, describes pages, holds back the moving figures, and keeps a CDN out."""

import html
import socket
import subprocess
import time

from docutils import nodes
from sphinxcontrib import katex

DESCRIPTION = range(60, 160)  # characters: shorter ones say nothing, longer ones are cut off where they are shown


def offer_downloads(app, pagename, templatename, context, doctree):
    """Tell the theme's download button of the chapter's source beside its notebook; the build puts both there."""
    if context.get("page_source_suffix") == ".ipynb":
        context["page_source_suffix"] = ".py"
        context["sourcename"] = f"{pagename}.py"
        context["ipynb_source"] = f"{pagename}.ipynb"


def hold_back_figures(app, config):
    """Jupyter Book loads the scripts of all static folders on every page; `page.js` loads this one where it is seen."""
    config.html_js_files = [name for name in config.html_js_files if name != "moving.js"]


def describe(app, pagename, templatename, context, doctree):
    """Say in the head what a page is about: its first sentences that are plain words."""
    paragraphs = doctree.findall(nodes.paragraph) if doctree else ()
    plain = (one.astext().replace("\n", " ") for one in paragraphs if not one.next_node(nodes.math))
    text = next((one for one in plain if len(one) >= DESCRIPTION.start), context.get("title", ""))
    context["metatags"] = (
        context.get("metatags", "") + f'\n<meta name="description" content="{html.escape(_shortened(text))}">'
    )


def _shortened(text):
    """Its first sentences, or words, that fit."""
    if len(text) <= DESCRIPTION.stop:
        return text
    end = text.rfind(". ", DESCRIPTION.start, DESCRIPTION.stop)
    return text[: end + 1] if end > 0 else text[: text.rfind(" ", 0, DESCRIPTION.stop)] + " …"


def not_found(app):
    """The page that a server shows for an address that is none."""
    yield "404", {"title": "There is no such page"}, "404.html"


def drop_thebe(app, config):
    """Jupyter Book always loads sphinx-thebe, which writes a CDN's address into every page."""
    for listeners in app.events.listeners.values():
        listeners[:] = [listener for listener in listeners if listener.handler.__module__ != "sphinx_thebe"]
    app.registry.css_files[:] = [
        (name, options) for name, options in app.registry.css_files if name != "sphinx-thebe.css"
    ]


def start_formula_server(server, rundir, timeout):
    """Start KaTeX's server and connect when it listens; its own way connects as soon as the socket's file is there."""
    path, deadline = str(rundir / "katex.sock"), time.monotonic() + timeout
    command = server.build_command(socket=path)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=rundir)
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
            return process, connection
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if time.monotonic() > deadline:
                raise server.timeout_error(timeout) from None
            time.sleep(0.01)


def name_page(app, doctree, docname):
    """Wrong TeX on a page that is about to be written is an error that names the page."""
    plain = getattr(katex.render_latex, "plain", katex.render_latex)

    def render(latex, options=None):
        try:
            return plain(latex, options)
        except katex.KaTeXError as error:
            raise katex.KaTeXError(f"{docname}: {error}") from None

    render.plain = plain
    katex.render_latex = render


def write_all(app):
    """Sphinx reads what has changed, but writes every page: of pages left out, search loses the index entries."""
    app.builder.get_outdated_docs = lambda: sorted(app.env.found_docs)


def setup(app):
    katex.KATEX_DEFAULT_OPTIONS["throwOnError"] = True  # wrong TeX fails the build; `katex_options` is for the browser
    katex.STARTUP_TIMEOUT = 60  # seconds: a busy machine needs more than the default 5 to start node
    katex.KaTeXServer.start_server_process = classmethod(start_formula_server)
    app.connect("builder-inited", write_all)
    app.connect("doctree-resolved", name_page)
    app.connect("config-inited", drop_thebe)
    app.connect("config-inited", hold_back_figures)
    # before the theme's own handlers, which make the buttons
    app.connect("html-page-context", offer_downloads, priority=100)
    app.connect("html-page-context", describe)
    app.connect("html-collect-pages", not_found)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
