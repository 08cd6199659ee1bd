"""The served book can be reloaded by a script that the published one forbids."""

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from companion.build import assets
from companion.build.live import Unguarded


def test_served_pages_are_without_the_policy_and_other_files_as_they_are(tmp_path):
    policy = assets.POLICY.format(assets.policy())
    (tmp_path / "page.html").write_text(f"<head>{policy}</head>")
    (tmp_path / "list.txt").write_text(policy)
    client = TestClient(Starlette(routes=[Mount("/", app=Unguarded(directory=tmp_path, html=True))]))
    assert client.get("/page.html").text == "<head></head>"
    assert client.get("/list.txt").text == policy
    assert client.get("/none.html").status_code == 404
