"""From chapters to a site.

==============  =============================================================
``chapters``    what a chapter is: its parameters, profiles and fingerprint
``execute``     run chapters with papermill, side by side, only where needed
``claims``      the claims page, from what the chapters recorded
``colophon``    the page that says how the book was built
``site``        assemble the sources, build, and swap the new site in
``sphinx_ext``  Sphinx reads a chapter's text and gets its executed notebook
==============  =============================================================

``python -m publish --help`` lists the commands.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
BUILD = Path(os.environ.get("BNLIB_BUILD", ROOT / "_build"))
