"""What a release has beside its source: the site as one zip, results, notebooks, pins, the book on paper, checksums."""

import io
import os
import re
import shutil
import zipfile

from companion import BUILD, ROOT
from companion.build import BuildFailed, checksums, cite, printed
from companion.build.site import SITE

FOLDER = BUILD / "release"
TIME = (2026, 1, 1, 0, 0, 0)  # of every file in an archive, whenever it was made
PINS = ("requirements.txt", "environment.yml", "pyproject.toml", "package.json", "package-lock.json")


class ReleaseFailed(BuildFailed):
    """A tag, a version or the list of changes do not say the same."""


def release(tag=None, site=SITE, folder=FOLDER):
    """Make everything that is attached to a release.

    Parameters
    ----------
    tag : str, optional
        It has to be "v" and the version.
    site : Path
        Built; its files are what is attached.
    folder : Path
        What was there is replaced when all is made.

    Returns
    -------
    list of Path

    Raises
    ------
    ReleaseFailed
        If `tag` is another version's, or ``CHANGELOG.md`` has no section for the version.
    """
    version = str(cite.facts()["version"])
    if tag is not None and tag != f"v{version}":
        raise ReleaseFailed(
            f"tag is {tag!r}; CITATION.cff and pyproject.toml say {version}, so it must be 'v{version}'"
        )
    said = notes((ROOT / "CHANGELOG.md").read_text(), version)
    name = f"batchnorm-rate-{version}"
    new = folder.with_name(f"{folder.name}-{os.getpid()}")
    new.mkdir(parents=True)
    try:
        for kind, files in contents(site).items():
            (new / f"{name}-{kind}.zip").write_bytes(packed({f"{name}/{path}": data for path, data in files.items()}))
        printed.pdf(site, new / f"{name}-book.pdf")
        (new / "NOTES.md").write_text(said)
        (new / checksums.FILE).write_text(checksums.listed(new))
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return sorted(folder.iterdir())


def contents(site):
    """What goes into which archive.

    Parameters
    ----------
    site : Path

    Returns
    -------
    dict of str to dict of str to bytes
        By the kind of archive, files by their path in it.
    """
    whole = {path.relative_to(site).as_posix(): path.read_bytes() for path in sorted(site.rglob("*")) if path.is_file()}
    notebooks = re.compile(r"_sources/book/([\w-]+\.ipynb)")
    return {
        "site": whole,
        "results": {name: data for name, data in whole.items() if name.startswith(("results/", "claims."))},
        "notebooks": {
            f"notebooks/{found[1]}": data for name, data in whole.items() if (found := notebooks.fullmatch(name))
        },
        "pins": {name: (ROOT / name).read_bytes() for name in PINS},
    }


def packed(files):
    """A zip archive whose bytes depend on nothing but names and contents.

    Parameters
    ----------
    files : dict of str to bytes

    Examples
    --------
    >>> packed({"a": b"1", "b": b"2"}) == packed({"b": b"2", "a": b"1"})
    True
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, TIME)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def notes(changes, version):
    """The section of a version in the list of changes.

    Raises
    ------
    ReleaseFailed
        If there is none with a date.

    Examples
    --------
    >>> notes("# Changes\\n\\n## 0.2.0, 2027-01-01\\n\\n- New.\\n\\n## 0.1.0, 2026-01-01\\n\\n- Old.\\n", "0.2.0")
    '- New.\\n'
    """
    found = re.search(
        rf"^## {re.escape(version)}, \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)", changes, re.MULTILINE | re.DOTALL
    )
    if not found:
        raise ReleaseFailed(f"CHANGELOG.md has no section '## {version}, <date>'; write what has changed, and the date")
    return found[1].strip() + "\n"
