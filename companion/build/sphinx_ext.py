"""Offers source and notebook of a chapter, loads the moving figures where they are, and keeps a CDN out."""

import socket
import subprocess
import time

from sphinxcontrib import katex

FIGURE_SCRIPTS = ("jsxgraph/jsxgraphcore.js", "moving.js")


def offer_downloads(app, pagename, templatename, context, doctree):
    """Tell the theme's download button of the chapter's source beside its notebook; the build puts both there."""
    if context.get("page_source_suffix") == ".ipynb":
        context["page_source_suffix"] = ".py"
        context["sourcename"] = f"{pagename}.py"
        context["ipynb_source"] = f"{pagename}.ipynb"


def hold_back_figures(app, config):
    """Jupyter Book loads the scripts of all static folders on every page; these wait for `load_figures`."""
    config.html_js_files = [name for name in config.html_js_files if name not in FIGURE_SCRIPTS]


def load_figures(app, pagename, templatename, context, doctree):
    """What the moving figures need, on the pages that have one and on no other."""
    if 'class="moving"' in context.get("body", ""):
        for name in FIGURE_SCRIPTS:
            app.add_js_file(name, loading_method="defer")


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


def write_all(app):
    """Sphinx reads what has changed, but writes every page: of pages left out, search loses the index entries."""
    app.builder.get_outdated_docs = lambda: sorted(app.env.found_docs)


def setup(app):
    katex.KATEX_DEFAULT_OPTIONS["throwOnError"] = True  # wrong TeX fails the build; `katex_options` is for the browser
    katex.STARTUP_TIMEOUT = 60  # seconds: a busy machine needs more than the default 5 to start node
    katex.KaTeXServer.start_server_process = classmethod(start_formula_server)
    app.connect("builder-inited", write_all)
    app.connect("config-inited", drop_thebe)
    app.connect("config-inited", hold_back_figures)
    # before the theme's own handlers, which make the buttons
    app.connect("html-page-context", offer_downloads, priority=100)
    app.connect("html-page-context", load_figures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
