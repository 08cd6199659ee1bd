"""Command line: ``python -m publish book`` and ``python -m publish chapter``."""

import argparse
import sys

import yaml

from publish import BUILD
from publish.chapters import UsageError, chapters, find
from publish.claims import IncompleteClaims
from publish.execute import ChapterFailed, execute, execute_all
from publish.site import SiteFailed, build


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m publish", description="From chapters to a site.")
    commands = parser.add_subparsers(dest="command", required=True)
    book = commands.add_parser("book", help="execute the chapters that changed and build the site")
    book.add_argument("--jobs", type=int, help="chapters side by side (default: the number of cores)")
    chapter = commands.add_parser("chapter", help="execute one chapter with papermill")
    chapter.add_argument("name", help="its name or the beginning of it: 03")
    chapter.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="set a parameter; the value is YAML",
    )
    for command in (book, chapter):
        command.add_argument("--profile", default="quick", help="smoke, quick (default) or paper")
    options = parser.parse_args(arguments)
    try:
        if options.command == "book":
            ran = execute_all(chapters(), options.profile, options.jobs)
            print(
                f"executed {len(ran)} of {len(chapters())} chapters"
                + (f": {', '.join(sorted(ran))}" if ran else ", none had changed")
            )
            print(f"the book is at {build(options.profile)}")
        else:
            one = find(options.name)
            given = {name: yaml.safe_load(value) for name, value in options.parameter}
            target = BUILD / "chapters" / f"{one.name}.ipynb"
            execute(one, one.parameters(options.profile) | one.check(given), target, progress=True)
            print(f"the executed notebook is at {target}")
    except (UsageError, ChapterFailed, IncompleteClaims, SiteFailed) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
