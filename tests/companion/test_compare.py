"""Two builds held against each other by their claims, and addresses elsewhere asked whether they answer."""

import copy
import http.server
import json
import threading

import pytest

import companion.__main__
from companion.build import claims, compare, outside
from companion.build.chapters import UsageError

CHECK = {
    "claim": "noise", "role": "headline", "statement": "slope", "kind": "empirical", "relation": "above",
    "measured": 0.5, "predicted": 0.0, "difference": 0.5, "tolerance": 0.0, "low": 0.2, "high": 0.8,
    "interval_method": "t", "scale": "plain", "p_value": 0.01, "repetitions": 3, "stands_in": None,
    "verdict": "borne out", "dataset": "mnist", "train_size": 100, "conditions": {}, "seeds": [1, 2, 3],
    "anchor": "check-1", "profile": "quick", "chapter": "noise-sweep",
}  # fmt: skip


def claim(name, *verdicts):
    checks = [
        CHECK | {"claim": name, "statement": f"slope {number}", "verdict": verdict}
        for number, verdict in enumerate(verdicts)
    ]
    texts = dict.fromkeys(("title", "paper", "statement", "chapter"), "words")
    found = {"name": name, **texts, "proof": None, "tests": [], "figures": [], "checks": checks}
    return found | {"verdict": claims.verdict(False, checks)}


OLD = [claim("noise", "borne out", "borne out"), claim("gone", "undecided")]
NEW = [claim("noise", "borne out", "undecided"), claim("come", "borne out")]


def written(path, content):
    path.write_text(json.dumps(content))
    return path


def test_a_claim_that_changed_came_or_went_is_named_with_its_checks():
    assert compare.changes(OLD, NEW) == [
        ("noise", "borne out", "1 borne out, 1 undecided", [("noise-sweep: slope 1", "borne out", "undecided")]),
        ("come", "not there", "borne out", []),
        ("gone", "undecided", "not there", []),
    ]


def test_checks_that_change_places_are_named_though_the_verdict_stays():
    one, other = [claim("noise", "borne out", "undecided")], [claim("noise", "undecided", "borne out")]
    [(name, old, new, checks)] = compare.changes(one, other)
    assert (name, old) == ("noise", new) and len(checks) == 2
    assert "as before, but" in compare.said([(name, old, new, checks)])


def test_numbers_may_move_as_long_as_verdicts_stay():
    other = copy.deepcopy(OLD)
    other[0]["checks"][0] |= {"measured": 0.6, "p_value": 0.02}
    assert compare.changes(OLD, other) == []


@pytest.mark.parametrize(("new", "status"), [(OLD, 0), (NEW, 1)])
def test_the_command_prints_what_changed_and_says_so_by_its_status(tmp_path, capsys, new, status):
    files = [str(written(tmp_path / name, content)) for name, content in (("old.json", OLD), ("new.json", new))]
    with pytest.raises(SystemExit) as ended:
        companion.__main__.main(["compare", *files])
    assert ended.value.code == status
    said = capsys.readouterr().out
    assert ("noise: borne out -> 1 borne out, 1 undecided" in said) == bool(status)
    assert ("no claim has another verdict" in said) != bool(status)


@pytest.mark.parametrize("text", [None, "", "{", "{}", '[{"name": "noise"}]', "[1]"])
def test_what_is_no_such_file_is_refused_by_name(tmp_path, text):
    path = tmp_path / "claims.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=r"claims\.json is no claims\.json of a built site: "):
        compare.read(path)


@pytest.fixture
def elsewhere():
    """The address of a server that has one page, refuses machines at another, and sends from an old address to the new."""

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status = {"/here": 200, "/old": 301, "/for-people": 403}.get(self.path.partition("?")[0], 404)
            self.send_response(status)
            if status == 301:
                self.send_header("Location", "/here")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_addresses_that_do_not_answer_are_named_with_their_pages(tmp_path, elsewhere):
    (tmp_path / "book").mkdir()
    names = ("here?a=1&amp;b=2", "old", "for-people", "here?a=1&amp;b=2#part", "gone")
    links = "".join(f'<a class="x" href="{elsewhere}/{name}">{name}</a>' for name in names)
    (tmp_path / "book" / "one.html").write_text(f'{links}<a href="two.html">inside</a><code>http://no.link</code>')
    (tmp_path / "book" / "two.html").write_text(f'<a href="{elsewhere}/gone">gone</a>')
    checked, dead = outside.dead(tmp_path)
    assert checked == 4
    assert dead == {f"{elsewhere}/gone": ("404 Not Found", ["book/one.html", "book/two.html"])}


def test_a_server_that_is_not_there_is_a_reason_and_no_crash():
    assert outside.asked("http://127.0.0.1:1/") == "URLError: <urlopen error [Errno 111] Connection refused>"
    assert outside.asked("http://[broken").startswith("ValueError: ")
