"""The sources of the site: the text as it is now, the outputs of the last run, and what is made of both."""

import copy
import os

import nbformat
import yaml

from companion import BOOK, ROOT, records
from companion.build import BuildFailed, cite, figures, pages
from companion.build.node import esbuild
from companion.build.npm import node_modules
from companion.build.placeholders import Recorded

CLONE_NOTE = (
    "*This notebook belongs to a book and imports its library: open it in a clone of the repository, "
    "where `make lab` starts Jupyter with everything that it needs.*"
)

MADE = "<!-- made -->"  # where a page has what is made for it; else it comes last
FIGURES = "<!-- figures -->"  # where the figures are listed


class AssemblyFailed(BuildFailed):
    """Something that the sources need is not there."""


def merged(chapter, executed):
    """A chapter's text as it is now with the outputs of its last run.

    Parameters
    ----------
    chapter : companion.build.chapters.Chapter
    executed : dict
        The executed notebook, of the same code.

    Returns
    -------
    nbformat.NotebookNode
        Its record of the run left out: times differ from run to run.
    """
    ran = [cell for cell in executed["cells"] if cell["cell_type"] == "code"]
    injected = [cell for cell in ran if "injected-parameters" in cell["metadata"].get("tags", [])]
    own = [cell for cell in ran if cell not in injected]
    notebook = copy.deepcopy(chapter.notebook)
    if len(own) != sum(cell.cell_type == "code" for cell in notebook.cells):
        raise AssemblyFailed(f"the outputs of {chapter.name} belong to other code; run `python -m companion book`")
    own = iter(own)
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [nbformat.from_dict(output) for output in next(own)["outputs"]]
            cell.execution_count = None
        cells.append(cell)
        if "parameters" in cell.metadata.get("tags", []):
            cells += [nbformat.from_dict(one) for one in injected]
    notebook.cells = cells
    notebook.metadata = nbformat.from_dict(
        {key: value for key, value in executed["metadata"].items() if key in ("kernelspec", "language_info")}
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{chapter.name}-{number}"
    return notebook


def page_of(chapter, executed, numbers, profile):
    """The notebook that becomes the page: a head under the title, figures numbered, records taken out."""
    notebook = merged(chapter, executed)
    title, *rest = notebook.cells[0].source.split("\n", 1)
    notebook.cells[0].source = "\n".join([title, "", pages.head(chapter, {chapter.name: executed}), *rest])
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            record = output.get("data", {}).pop(records.MIME, None)
            if record is not None and record["type"] == "finding":
                output["remove"] = True  # it is said at the head of the chapter
            if record is not None and record["type"] == "figure":
                figure, data = records.from_json(record), output["data"]
                shown = "".join(data["text/html"])
                data["text/html"] = figures.captioned(shown, figure, numbers[figure.anchor], chapter.name, profile)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not output.pop("remove", False)]
    return nbformat.writes(notebook) + "\n"


def download_of(chapter, executed):
    """The notebook that readers download: it says where it runs."""
    notebook = merged(chapter, executed)
    note = nbformat.v4.new_markdown_cell(CLONE_NOTE, id=f"{chapter.name}-clone")
    notebook.cells.insert(0, note)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(records.MIME, None)
    return nbformat.writes(notebook) + "\n"


def sources(chapters, notebooks, claims, profile, repository_url=""):
    """Every file that Sphinx reads.

    Parameters
    ----------
    chapters : list of companion.build.chapters.Chapter
    notebooks : dict of str to dict
        Executed notebooks by chapter name.
    claims : list of dict
        From `companion.build.claims.collect`.
    profile, repository_url : str

    Returns
    -------
    dict of str to bytes
        By path, relative to the folder of the sources.
    """
    files = {f"book/{path.name}": path.read_bytes() for path in BOOK.iterdir() if path.suffix in (".md", ".bib")}
    titles = {chapter.name: chapter.title for chapter in chapters}
    numbers = figures.numbers(notebooks)
    made = {
        "book/claims.md": pages.claims_page(claims, titles, numbers, repository_url),
        "book/bibliography.md": f"```bibtex\n{cite.bibtex(repository_url)}```",
        "book/built.md": pages.colophon(profile, notebooks),
        "book/findings.md": pages.findings(chapters, notebooks),
        "book/teach.md": pages.exercises(chapters),
    }
    for name, text in made.items():
        written = files[name].decode()
        files[name] = (written.replace(MADE, text) if MADE in written else f"{written}\n{text}").encode()
    files[f"book/{cite.FILE}"] = cite.bibtex(repository_url).encode()
    listed = figures.listed(notebooks, titles)
    files["book/teach.md"] = files["book/teach.md"].replace(FIGURES.encode(), listed.encode())
    known = Recorded(claims, titles, notebooks, profile)
    for name in [name for name in files if name.endswith(".md")]:
        files[name] = known.filled(name, files[name].decode()).encode()
    for chapter in chapters:
        files[f"book/{chapter.name}.ipynb"] = page_of(chapter, notebooks[chapter.name], numbers, profile).encode()
    static = ROOT / "companion" / "static"
    files |= {f"_static/{path.name}": path.read_bytes() for path in static.iterdir()}
    templates = ROOT / "companion" / "templates"
    files |= {f"_templates/{path.name}": path.read_bytes() for path in templates.iterdir()}
    files |= _vendored()
    files["_toc.yml"] = (ROOT / "_toc.yml").read_bytes()
    files["_config.yml"] = yaml.safe_dump(_config(repository_url)).encode()
    return files


def _vendored():
    """KaTeX's fonts and the moving figures: in a folder that Jupyter Book does not load on every page."""
    katex = node_modules() / "katex" / "dist"
    files = {"_vendor/katex/katex.min.css": (katex / "katex.min.css").read_bytes()}
    files |= {f"_vendor/katex/fonts/{path.name}": path.read_bytes() for path in (katex / "fonts").glob("*.woff2")}
    files["_vendor/jsxgraph/LICENSE.MIT"] = (node_modules() / "jsxgraph" / "LICENSE.MIT").read_bytes()
    # one plain script, since browsers load no modules from ``file://``
    library = ROOT / "companion" / "scripts" / "jsxgraph.js"
    start = BOOK / "moving" / "start.js"
    files["_vendor/moving.js"] = esbuild(start, "--bundle", "--format=iife", f"--inject:{library}").encode()
    return files


def _config(repository_url):
    """The book's configuration, with the repository's address and its buttons where one is given."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["sphinx"]["config"]["html_baseurl"] = site_address()
    if repository_url:
        config["repository"] = {"url": repository_url, "branch": "main"}
        config["html"] |= {"use_repository_button": True, "use_issues_button": True}
        config["launch_buttons"] = {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"}
    return config


def site_address():
    """Where the site will be, with a slash at its end; empty where nobody said: ``SITE_URL``."""
    address = os.environ.get("SITE_URL", "")
    return f"{address.rstrip('/')}/" if address else ""
