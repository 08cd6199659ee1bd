"""From chapters to a site: chapters are run, what they recorded is read, Sphinx makes the pages.

To run chapters: ``chapters`` (what a chapter is, and its fingerprint), ``execute`` (papermill, side by side, only where
needed), ``folder`` (one build at a time), ``npm`` and ``node`` (what comes from npm).

To read them: ``claims`` (from statement to verdict), ``figures`` (numbers and files), ``pages``, ``placeholders``, ``map``,
``cite`` and ``weighed`` (texts that are made).

To make a site: ``assemble`` (the sources of all pages), ``sphinx_ext``, ``links`` and ``equations`` (inside Sphinx), ``site``
(build, and swap the new one in), ``finish`` with ``assets``, ``markup``, ``formulas``, ``fonts``, ``previews`` and ``checksums``
(what Sphinx wrote, made light).

To go on from there: ``live`` (serve while writing), ``reproduce``, ``compare``, ``outside`` and ``viewing`` (look at what was
made), ``release`` with ``printed`` (what is attached to a version).
"""


class BuildFailed(RuntimeError):
    """The book could not be built; what was there before is as it was."""
