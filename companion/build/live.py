"""Serve the book while it is written: what changes is built again, and the browser shows it."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from sphinx_autobuild.filter import IgnoreFilter
from sphinx_autobuild.middleware import JavascriptInjectorMiddleware
from sphinx_autobuild.server import RebuildServer
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Mount, WebSocketRoute
from starlette.staticfiles import StaticFiles

from companion import BOOK, ROOT
from companion.build import assets
from companion.build.site import SITE

NOT_SOURCES = [r"\.ipynb$", r"__pycache__", r"/\.[^/]+$", r"~$"]


@dataclass(frozen=True)
class Rebuild:
    """Run ``python -m companion book`` when files have changed; a failure is printed, and the site stays."""

    profile: str

    def __call__(self, *, changed_paths):
        for path in changed_paths:
            print(f"changed: {path.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "companion", "book", "--profile", self.profile], cwd=ROOT, check=False)


class Unguarded(StaticFiles):
    """The site without its content security policy, which would stop the script that reloads a page."""

    def file_response(self, full_path, *arguments, **keywords):
        if not str(full_path).endswith(".html"):
            return super().file_response(full_path, *arguments, **keywords)
        page = Path(full_path).read_text()
        return HTMLResponse(page.replace(assets.POLICY.format(assets.policy()), ""))


def serve(profile, host="127.0.0.1", port=8000):
    """Build, serve and watch until interrupted.

    Parameters
    ----------
    profile : str
    host : str
    port : int
    """
    rebuild = Rebuild(profile)
    rebuild(changed_paths=[])
    SITE.mkdir(parents=True, exist_ok=True)  # the first build may have failed; the next one fills it
    watcher = RebuildServer([BOOK, ROOT / "companion", ROOT / "bnlib"], IgnoreFilter([], NOT_SOURCES), rebuild)
    address = f"{host}:{port}"
    app = Starlette(
        routes=[
            WebSocketRoute("/websocket-reload", watcher, name="reload"),
            Mount("/", app=Unguarded(directory=SITE, html=True), name="static"),
        ],
        middleware=[Middleware(JavascriptInjectorMiddleware, ws_url=address)],
        lifespan=watcher.lifespan,
    )
    print(f"the book is at http://{address}, and follows its sources; stop with Ctrl+C", flush=True)
    uvicorn.run(app, host=host, port=port, log_level="warning")
