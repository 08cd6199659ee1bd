"""A release says one thing everywhere, its archives are the same bytes every time, and its workflow may do little."""

import io
import json
import re
import tomllib
import zipfile
from datetime import date

import pytest
import yaml
from pybtex.database import parse_string

from companion import BOOK, ROOT
from companion.build import checksums, cite, printed, release

CFF = yaml.safe_load((ROOT / "CITATION.cff").read_text())
ZENODO = json.loads((ROOT / ".zenodo.json").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CHANGES = (ROOT / "CHANGELOG.md").read_text()
WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").iterdir()}


def versions(changes):
    """Versions and dates of the list of changes, as it has them."""
    return re.findall(r"^## (\S+), (\d{4}-\d\d-\d\d)$", changes, flags=re.MULTILINE)


def in_order(changes):
    """Whether the newest is first, and every section has a version and a date."""
    numbers = [
        (date.fromisoformat(day), [int(part) for part in version.split(".")]) for version, day in versions(changes)
    ]
    return numbers == sorted(numbers, reverse=True) and len(numbers) == len(re.findall("^## ", changes, re.MULTILINE))


def test_the_version_is_one():
    assert CFF["version"] == PROJECT["version"] == ZENODO["version"] == versions(CHANGES)[0][0]


def test_the_date_is_one():
    assert CFF["date-released"].isoformat() == ZENODO["publication_date"] == versions(CHANGES)[0][1]


def test_title_people_words_licence_and_paper_are_the_same_for_zenodo():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert CFF["title"] == ZENODO["title"] == config["title"]
    assert [one["name"] for one in CFF["authors"]] == [one["name"] for one in ZENODO["creators"]] == [config["author"]]
    assert CFF["keywords"] == ZENODO["keywords"]
    assert CFF["abstract"] == ZENODO["description"]
    assert ZENODO["upload_type"] == CFF["type"] and ZENODO["license"] == PROJECT["license"] == CFF["license"][0]
    [paper] = CFF["references"]
    assert [one["identifier"] for one in ZENODO["related_identifiers"]] == [paper["doi"]]


def test_the_list_of_changes_is_in_order():
    assert versions(CHANGES) and in_order(CHANGES)


@pytest.mark.parametrize(
    "changes",
    ["## 0.1.0, 2026-01-01\n\n## 0.2.0, 2027-01-01\n", "## 0.2.0, 2027-01-01\n\n## 0.1.0, not yet released\n"],
)
def test_control_a_list_out_of_order_or_without_a_date_is_noticed(changes):
    assert not in_order(changes)


def test_the_bibtex_is_read_and_says_what_the_bibliography_says():
    entries = parse_string(cite.bibtex("https://example.org/book"), "bibtex").entries
    paper, companion = entries["annamalai2022"], entries["batchnorm-rate"]
    listed = parse_string((BOOK / "references.bib").read_text(), "bibtex").entries["annamalai2022"]
    assert paper.fields["title"].strip("{}") == listed.fields["title"]
    assert paper.fields["doi"] == listed.fields["doi"] == "10.48550/arXiv.2209.07587"
    assert paper.fields["eprint"] == "2209.07587" and paper.persons == listed.persons
    assert companion.fields["version"] == PROJECT["version"]
    assert companion.fields["url"] == "https://example.org/book" and companion.fields["month"] == "November"
    assert "url" not in parse_string(cite.bibtex(), "bibtex").entries["batchnorm-rate"].fields


@pytest.fixture
def site(tmp_path):
    made = tmp_path / "html"
    pages = {f"{name}.html": "<body><article>x</article></body>" for name in printed.pages()}
    files = pages | {
        "claims.json": "[]",
        "claims.schema.json": "{}",
        "results/rows.csv": "a\n1\n",
        "results/figures/noise-rate.svg": "<svg/>",
        "_sources/book/noise.ipynb": "{}",
        "_sources/book/noise.py": "1",
        "_sources/book/claims.md": "# Claims",
    }
    for name, text in files.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    return made


def test_archives_have_what_they_are_called_after(site):
    found = release.contents(site)
    assert set(found["site"]) == set(checksums.sums(site))
    names = {"claims.json", "claims.schema.json", "results/rows.csv", "results/figures/noise-rate.svg"}
    assert set(found["results"]) == names
    assert set(found["notebooks"]) == {"notebooks/noise.ipynb"}
    assert "requirements.txt" in found["pins"] and "package-lock.json" in found["pins"]


def test_an_archive_is_the_same_bytes_whenever_it_is_made(site):
    files = release.contents(site)["site"]
    one = release.packed(files)
    assert one == release.packed(dict(reversed(files.items())))
    assert one != release.packed(files | {"claims.json": b"[1]"})
    with zipfile.ZipFile(io.BytesIO(one)) as archive:
        assert archive.testzip() is None and archive.namelist() == sorted(files)
        assert {entry.date_time for entry in archive.infolist()} == {release.TIME}
        assert archive.read("results/rows.csv") == files["results/rows.csv"]


def test_a_release_is_made_whole_with_its_checksums(site, tmp_path, monkeypatch):
    monkeypatch.setattr(printed.viewing, "CHROMIUM", None)
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "old.zip").write_text("of the release before")
    made = release.release(f"v{PROJECT['version']}", site, folder)
    name = f"batchnorm-rate-{PROJECT['version']}"
    archives = {f"{name}-{kind}.zip" for kind in ("site", "results", "notebooks", "pins")}
    assert {path.name for path in made} == archives | {"NOTES.md", "SHA256SUMS"}
    assert (folder / "SHA256SUMS").read_text() == checksums.listed(folder)
    with zipfile.ZipFile(folder / f"{name}-site.zip") as archive:
        archive.extractall(tmp_path / "opened")
    assert checksums.differing(site, tmp_path / "opened" / name) == []
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("release-")] == []


def test_a_tag_of_another_version_is_refused_and_leaves_what_was_there(site, tmp_path):
    folder = tmp_path / "release"
    folder.mkdir()
    with pytest.raises(release.ReleaseFailed, match=r"tag is 'v9'; .* so it must be 'v"):
        release.release("v9", site, folder)
    assert list(folder.iterdir()) == []


def test_a_version_without_a_section_or_date_is_refused():
    for changes in ("# Changes\n", "## 0.1.0, not yet released\n\n- New.\n"):
        with pytest.raises(release.ReleaseFailed, match=r"no section '## 0\.1\.0, <date>'"):
            release.notes(changes, "0.1.0")


def test_the_book_on_paper_has_every_page_and_its_links_stay_inside():
    whole = printed.joined(
        {
            "book/index": '<html><head><title>Book</title></head><body><article id="x"><a href="noise.html#one">a</a><a href="#top">b</a>'
            '<svg><path id="f.0"></path><use href="#f.0"></use><g clip-path="url(#f.0)"></g></svg></article></body>',
            "book/noise": '<html><head><title>6. Noise &#8212; Book</title></head><body><article><h1 id=one>N</h1><a href="index.html">c</a><script>1</script>'
            '<a href="https://example.org/noise.html#one">d</a><a href="../claims.json">e</a></article></body>',
        }
    )
    places = re.findall(r'\bid="([^"]+)"', whole)
    assert len(places) == len(set(places)) and {"p0", "p1", "p0-f.0", "p1-one"} <= set(places)
    assert re.findall(r'href="([^"]*)"', whole) == [
        "#p1-one", "#p0-top", "#p0-f.0", "#p0", "#p1", "#p0", "https://example.org/noise.html#one", "../claims.json",
    ]  # fmt: skip
    assert "url(#p0-f.0)" in whole and "<script" not in whole
    assert '<li><a href="#p1">6. Noise</a></li>' in whole


def uses(workflow):
    return [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]


def test_every_action_is_pinned_by_its_commit_with_the_version_beside():
    for path in (ROOT / ".github" / "workflows").iterdir():
        lines = [line.strip() for line in path.read_text().splitlines() if "uses:" in line]
        assert len(lines) == len(uses(WORKFLOWS[path.name])) > 0
        for line in lines:
            assert re.fullmatch(r"(?:- )?uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_one_action_has_one_commit_everywhere():
    known = {one for workflow in WORKFLOWS.values() for one in uses(workflow)}
    assert len({one.partition("@")[0] for one in known}) == len(known)


def test_a_workflow_may_read_and_a_job_may_write_only_what_it_is_for():
    may = {("book.yml", "publish"): {"pages": "write", "id-token": "write"}}
    may |= {("release.yml", "publish"): {"contents": "write"}}
    for name, workflow in WORKFLOWS.items():
        assert workflow["permissions"] == {"contents": "read"}, name
        for job, content in workflow["jobs"].items():
            assert content.get("permissions", {"contents": "read"}) == may.get((name, job), {"contents": "read"})
            # a job that may write runs no code of this repository or of a package
            if (name, job) in may:
                assert not any("checkout" in one for one in uses({"jobs": {job: content}}))


def test_pages_come_from_main_only_and_no_checkout_keeps_its_token():
    assert WORKFLOWS["book.yml"]["jobs"]["publish"]["if"].startswith("github.ref == 'refs/heads/main'")
    for workflow in WORKFLOWS.values():
        assert "pull_request_target" not in workflow[True]  # YAML reads "on" as true
        for job in workflow["jobs"].values():
            for step in job["steps"]:
                if "checkout" in step.get("uses", ""):
                    assert step["with"]["persist-credentials"] is False
