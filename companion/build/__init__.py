"""From chapters to a site: chapters are run, what they recorded is read, Sphinx makes the pages.

==============  =============================================================
``chapters``    what a chapter is: its parameters, profiles and fingerprint
``execute``     run chapters with papermill, side by side, only where needed
``claims``      every claim from statement to verdict, as the chapters recorded it
``pages``       texts that are made: claims, "In short", how it was built
``assemble``    the sources of the site: text of now, outputs of the last run
``site``        build, and swap the new site in
``live``        serve the book, and build what changes
``sphinx_ext``  downloads, and scripts where a page needs them
==============  =============================================================
"""


class BuildFailed(RuntimeError):
    """The book could not be built; what was there before is as it was."""
