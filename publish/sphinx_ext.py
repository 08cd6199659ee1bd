"""Hands Sphinx, which reads the text of a chapter, the executed notebook; offers both; loads the moving figures."""

import hashlib
import os
import shutil
from pathlib import Path

import nbformat
from sphinxcontrib import katex

from publish.claims import MIME

# set by `publish.site`: the folder with one executed notebook a chapter
EXECUTED = "BNLIB_EXECUTED"
FIGURE_SCRIPTS = ("jsxgraph/jsxgraphcore.js", "moving.js")


def source_hash(text):
    """Identifies a chapter by its text."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_executed(text):
    """The executed notebook of the chapter with this text; MyST-NB calls this for every ``.py`` page."""
    wanted = source_hash(text)
    for path in Path(os.environ[EXECUTED]).glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        if notebook.metadata["bnlib"]["source_hash"] == wanted:
            for cell in notebook.cells:
                for output in cell.get("outputs", []):
                    output.get("data", {}).pop(MIME, None)  # MyST-NB warns of types that it cannot render
            return notebook
    raise LookupError("no executed notebook belongs to this chapter; build the site with `python -m publish book`")


def offer_notebook(app, pagename, templatename, context, doctree):
    """Put the executed notebook beside the source, where the theme's download button looks for it."""
    executed = Path(os.environ[EXECUTED]) / f"{Path(pagename).name}.ipynb"
    if context.get("page_source_suffix") == ".py" and executed.is_file():
        target = Path(app.outdir) / "_sources" / f"{pagename}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(executed, target)
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


def setup(app):
    katex.KATEX_DEFAULT_OPTIONS["throwOnError"] = True  # wrong TeX fails the build; `katex_options` is for the browser
    katex.STARTUP_TIMEOUT = 60  # seconds: a busy machine needs more than the default 5 to start node
    app.connect("config-inited", drop_thebe)
    app.connect("config-inited", hold_back_figures)
    # before the theme's own handlers, which make the buttons
    app.connect("html-page-context", offer_notebook, priority=100)
    app.connect("html-page-context", load_figures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
