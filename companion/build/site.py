"""Build the site, and only then put it in the place of the one before."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from companion import BOOK, BUILD, ROOT, records
from companion.build import BuildFailed, checksums, claims, figures, pages
from companion.build.chapters import chapters
from companion.build.execute import executed_path, is_current
from companion.build.folder import recover, swap, write
from companion.build.node import node_folder

SITE = BUILD / "html"
WORK = BUILD.absolute() / "sphinx"  # kept between builds, so that Sphinx reads what has changed alone
TIED = Path(__file__).with_name("tied.py")
EDITION = 1_767_225_600  # 1 January 2026, in seconds since 1970: the year in the footer


class SiteFailed(BuildFailed):
    """The site could not be built; the one before is as it was."""


def build(profile, site=SITE):
    """Build the site from the chapters executed under `profile`.

    Parameters
    ----------
    profile : str
    site : Path
        Where it goes; what was there is replaced at the very end, or left where nothing has changed since.

    Returns
    -------
    Path
        The page to open.

    Raises
    ------
    SiteFailed
        On any warning, broken reference or wrong TeX.
    """
    book = chapters()
    paths = {chapter.name: executed_path(chapter, profile) for chapter in book}
    repository_url = os.environ.get("REPOSITORY_URL", "").rstrip("/")
    stamp, stamped = _stamp(paths, profile, repository_url), BUILD / "site.json"
    wanted = json.dumps([stamp, str(site)])
    recover(site)
    if stamped.is_file() and stamped.read_bytes() == wanted.encode() and checksums.are_right(site):
        return site / "index.html"
    if edited := [one.name for one in chapters() if not is_current(one, one.parameters(profile), paths[one.name])]:
        raise SiteFailed(f"edited while the book was made, or never run: {', '.join(edited)}; run `make book` again")
    for left in BUILD.glob("next-*"):  # by a build that was killed
        shutil.rmtree(left, ignore_errors=True)
    from companion.build import assemble, finish  # nbformat takes most of a second, which nothing to do need not spend

    notebooks = {name: json.loads(path.read_text()) for name, path in paths.items()}
    rows = claims.collect(notebooks, profile)
    html = _jupyter_book(assemble.sources(book, notebooks, rows, profile, repository_url))
    new = BUILD / f"next-{os.getpid()}"
    try:
        shutil.copytree(html, new)
        (new / "claims.json").write_text(claims.as_text(rows))
        (new / records.SCHEMA_FILE).write_text(claims.as_text(records.claims_schema()))
        (new / "results").mkdir()
        for _, record, _ in claims.recorded(notebooks, "rows"):
            (new / "results" / record.file).write_text(record.csv)
        (new / figures.FOLDER).mkdir()
        for name, content in figures.files(notebooks).items():
            (new / name).write_bytes(content)
        for chapter in book:
            download = new / "_sources" / "book" / f"{chapter.name}.ipynb"
            download.write_text(assemble.download_of(chapter, notebooks[chapter.name]))
            download.with_suffix(".py").write_text(chapter.path.read_text())
        finish.finish(new, assemble.site_address())
        stamped.unlink(missing_ok=True)
        swap(new, site)
        write(stamped, wanted)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return site / "index.html"


def _stamp(paths, profile, repository_url):
    """Changes when anything does that the site is made of."""
    digest = hashlib.sha256(json.dumps([profile, repository_url, os.environ.get("SITE_URL"), pages.commit()]).encode())
    own = [ROOT / name for name in ("_toc.yml", "_config.yml", "requirements.txt", "package-lock.json")]
    folders = [path for folder in (BOOK, ROOT / "companion", ROOT / "bnlib") for path in folder.rglob("*")]
    for path in sorted(path for path in [*own, *folders, *paths.values()] if path.is_file() and path.suffix != ".pyc"):
        digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _frame(files):
    """Changes when every page may have to be read anew: navigation, titles, labels, style, and what makes pages."""
    digest = hashlib.sha256()
    for name in sorted(files):
        if not name.startswith("book/"):
            digest.update(name.encode() + files[name])
        else:
            known = re.findall(rb'^(?:\s*")?#{1,2} .*|:label:.*|^\(.*\)=', files[name], flags=re.MULTILINE)
            digest.update(name.encode() + repr(known).encode())
    for path in [
        *sorted(Path(__file__).parent.glob("*.py")),
        ROOT / "requirements.txt",
        *sorted((ROOT / "bnlib").rglob("*.py")),
    ]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _jupyter_book(files):
    """Run Sphinx over the sources, whose folder it keeps; a failure leaves nothing to build on."""
    source, frame = WORK / "source", WORK / "frame"
    wanted = _frame(files)
    if not frame.is_file() or frame.read_text() != wanted:
        shutil.rmtree(WORK, ignore_errors=True)
    source.mkdir(parents=True, exist_ok=True)
    frame.unlink(missing_ok=True)
    sync(source, files)
    # copied anew by every build; left there, pages would name checksums that those of a first build do not
    shutil.rmtree(WORK / "_build" / "html" / "_static", ignore_errors=True)
    environment = os.environ | {
        "PATH": f"{node_folder()}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        # dates in the pages follow the text, not the clock
        "SOURCE_DATE_EPOCH": str(EDITION),
    }
    program = Path(sys.executable).with_name("jupyter-book")
    command = [sys.executable, TIED, program, "build", "-n", "-W", "--keep-going", "--path-output", WORK, source]
    log = WORK / "sphinx.log"
    with log.open("w") as output:
        # a session of its own: if Sphinx dies, the KaTeX server that it started has to go too
        builder = subprocess.Popen(
            command,
            cwd=source,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            status = builder.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(builder.pid, signal.SIGKILL)
            builder.stdin.close()
    if status:
        lines = log.read_text().splitlines()
        problems = [line for line in lines if re.search(r"WARNING|ERROR|rror:", line)]
        said = "\n".join(problems or lines[-30:])
        raise SiteFailed(said or f"Sphinx ended with {status} and said nothing; is the disk full?")
    frame.write_text(wanted)
    return WORK / "_build" / "html"


def sync(folder, files):
    """Make `folder` hold exactly `files`; what has not changed is not touched, so that Sphinx reads the rest alone."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder).as_posix() not in files:
            path.unlink()
    for name, content in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
