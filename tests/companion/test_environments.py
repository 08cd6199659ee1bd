"""Environments are what they are called: what runs in one finds what it says, and a book that is not built there is lost."""

import pytest

from faults import environments
from faults.environments import ENVIRONMENTS, Environment, Failed, rows, run, tried
from faults.tiny import Book

# what Python finds in each; it fails unless it is so
FINDS = {
    "a path with blanks and umlauts": 'assert " " in os.getcwd() and not os.getcwd().isascii()',
    "a user that is not root": "assert os.getuid() == 65534\ntry: os.chroot('.')\nexcept PermissionError: pass\nelse: raise SystemExit(1)",
    "HOME unset": 'assert "HOME" not in os.environ',
    "HOME read-only": "try: open(os.path.expanduser('~/x'), 'w')\nexcept OSError: pass\nelse: raise SystemExit(1)",
    "no git, neither program nor folder": 'assert not shutil.which("git") and not os.path.exists(".git")',
    "LANG=C": 'assert os.environ["LC_ALL"] == "C"',
    "an ASCII locale, Python's UTF-8 mode off": "assert not sys.flags.utf8_mode and locale.getencoding() != 'UTF-8'",
    "TZ=Asia/Kathmandu": "assert time.localtime(0).tm_gmtoff == 19800",
    "one core": "assert len(os.sched_getaffinity(0)) == 1",
    "4 GB of memory": "pass",  # a limit on what is taken: the test below looks at it
    "offline, once installed": "assert {name for _, name in socket.if_nameindex()} == {'lo'}",
}
IMPORTS = "import locale, os, shutil, socket, sys, time\n"


class Place(Book):
    """A folder in which a command runs."""

    def __init__(self, folder, environment):
        super().__init__(folder / environment.folder)
        (folder / "home").mkdir()
        self.root.mkdir()
        folder.chmod(0o755)


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda one: one.fault)
def test_an_environment_is_what_it_is_called(environment, tmp_path_factory):
    if why := environment.missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("here")
    for above in (folder.parent, folder.parent.parent):
        above.chmod(0o755)
    run(environment, Place(folder, environment), ["-c", IMPORTS + FINDS[environment.fault]])


@pytest.mark.parametrize("environment", [one for one in ENVIRONMENTS if not one.memory], ids=lambda one: one.fault)
def test_control_the_plain_environment_is_none_of_them(environment, tmp_path):
    with pytest.raises(Failed):
        run(environments.PLAIN, Place(tmp_path, environments.PLAIN), ["-c", IMPORTS + FINDS[environment.fault]])


def test_a_command_that_takes_more_memory_than_it_may_is_ended(tmp_path):
    small = Environment("50 MB of memory", memory=50 * 2**20)
    taking = "import time; taken = bytearray(b'1') * 2**27; time.sleep(60)"
    with pytest.raises(Failed, match=r"took 0\.[1-9] GB"):
        run(small, Place(tmp_path, small), ["-c", taking])


def test_control_a_book_that_is_not_built_is_lost_with_what_it_said(tmp_path):
    broken = Environment("Python without its library", variables={"PYTHONHOME": "/nowhere"})
    found, sums = tried(broken, tmp_path)
    assert found.lost and found.came == "failed" and sums == {}
    assert "no Python frame" in found.said


def test_an_environment_that_cannot_be_tried_is_no_success(monkeypatch):
    one = Environment("with unshare", before=("unshare", "--net"))
    monkeypatch.setattr(environments.shutil, "which", lambda program: None)
    monkeypatch.setattr(environments, "tried", lambda *_: (environments.Try("built", False), {}))
    [row] = rows([one])
    assert row["tries"] == 0 and row["lost"] is None
    assert row["result"] == "not tried here: no unshare on this machine"
