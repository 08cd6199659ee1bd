"""Command line: ``python -m companion --help`` lists the commands."""

import argparse
import locale
import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from companion import BOOK, BUILD, ROOT


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m companion", description="From chapters to a site, and back.")
    commands = parser.add_subparsers(dest="command", required=True)
    book = commands.add_parser("book", help="execute the chapters that changed and build the site")
    book.add_argument("--jobs", type=int, help="chapters side by side (default: the number of cores)")
    chapter = commands.add_parser("chapter", help="execute one chapter with papermill")
    chapter.add_argument("name", help="its name or the beginning of it: noise")
    chapter.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="set a parameter; the value is YAML",
    )
    figure = commands.add_parser("figure", help="make a figure again: as SVG and PNG, with the numbers drawn as CSV")
    figure.add_argument("name", help="it stands under the figure: noise-rate")
    claim = commands.add_parser("claim", help="what is known of a claim, and where")
    claim.add_argument("name", nargs="?", help="its word: noise; without one all are listed")
    claim.add_argument("--run", action="store_true", help="run its tests")
    live = commands.add_parser("live", help="serve the book, and build what changes")
    live.add_argument("--port", type=int, default=8000)
    again = commands.add_parser("reproduce", help="build the commit twice, and name the files that differ")
    release = commands.add_parser("release", help="build the site, and make what is attached to a release")
    release.add_argument("--tag", help="fail unless it is that of the version")
    compare = commands.add_parser("compare", help="the claims that have another verdict in another build")
    compare.add_argument("old", type=Path, help="a file claims.json")
    compare.add_argument("new", type=Path, help="another one")
    commands.add_parser("outside", help="ask every address elsewhere that the site names whether it answers")
    for command in (book, live, chapter, figure, again, release):
        command.add_argument("--profile", default="quick", help="smoke, quick (default) or paper")
    options = parser.parse_args(arguments)

    from companion.build import BuildFailed
    from companion.build.chapters import UsageError
    from companion.build.folder import not_written

    try:
        commands = {"book": _book, "live": _live, "chapter": _chapter, "figure": _figure, "claim": _claim}
        commands |= {"reproduce": _reproduce, "release": _release, "compare": _compare, "outside": _outside}
        sys.exit(commands[options.command](options))
    except (BuildFailed, UsageError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if (said := not_written(error)) is None:
            raise
        sys.exit(f"error: {said}")
    except KeyboardInterrupt:
        print("interrupted: the site is as it was, and the next build goes on from here", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def _book(options):
    from companion.build.chapters import budgets, chapters, limit
    from companion.build.execute import execute_all
    from companion.build.folder import alone
    from companion.build.site import build

    budget = budgets() if options.profile == "quick" else None
    with alone():
        ran = execute_all(chapters(), options.profile, options.jobs, budget, limit(options.profile))
        print(
            f"executed {len(ran)} of {len(chapters())} chapters"
            + (f": {', '.join(sorted(ran))}" if ran else ", none had changed")
        )
        print(f"the book is at {build(options.profile)}")


def _live(options):
    from companion.build.live import serve

    serve(options.profile, port=options.port)


def _chapter(options):
    from companion.build.chapters import find
    from companion.build.execute import execute
    from companion.build.npm import node_modules

    node_modules()
    one = find(options.name)
    given = {name: yaml.safe_load(value) for name, value in options.parameter}
    target = BUILD / "chapters" / f"{one.name}.ipynb"
    execute(one, one.parameters(options.profile) | one.check(given), target, progress=True)
    print(f"the executed notebook is at {target}")


def _figure(options):
    import json

    from companion.build import figures
    from companion.build.chapters import find
    from companion.build.execute import execute, executed_path, is_current
    from companion.build.folder import alone
    from companion.build.npm import node_modules

    node_modules()
    one = find(figures.chapter_of(options.name))
    parameters, target = one.parameters(options.profile), executed_path(one, options.profile)
    with alone():
        if not is_current(one, parameters, target):
            execute(one, parameters, target, progress=True)
    made = figures.files({one.name: json.loads(target.read_text())})
    for name, content in made.items():
        path = BUILD / name
        if path.stem == options.name:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            print(path)


def _reproduce(options):
    from companion.build.reproduce import reproduce

    print(f"{reproduce(options.profile)} files compared, 0 differ")


def _release(options):
    from companion.build.release import release

    options.jobs = None
    _book(options)
    for path in release(options.tag):
        print(f"{path.stat().st_size / 1e6:7.1f} MB  {path}")


def _compare(options):
    from companion.build import compare

    found = compare.changes(compare.read(options.old), compare.read(options.new))
    print(compare.said(found))
    return int(bool(found))


def _outside(_):
    from companion.build import outside
    from companion.build.site import SITE

    checked, dead = outside.dead(SITE)
    for address, (reason, pages) in dead.items():
        print(f"{address}: {reason}\n    named by {', '.join(pages)}")
    print(f"{checked} addresses asked, {len(dead)} do not answer")
    return int(bool(dead) or not checked)


def _claim(options):
    import json

    from companion.build.chapters import UsageError
    from companion.build.claims import listed
    from companion.build.site import SITE

    claims = {claim.name: claim for claim in listed()}
    if options.name is None:
        for claim in claims.values():
            print(f"{claim.name:20} {claim.title}")
        return None
    if options.name not in claims:
        raise UsageError(f"claim {options.name!r} is unknown; the claims are: {', '.join(claims)}")
    claim = claims[options.name]
    built = SITE / "claims.json"
    found = {one["name"]: one for one in json.loads(built.read_text())} if built.is_file() else {}
    known = found.get(claim.name)
    where = f"proven there as {claim.proof}" if claim.proven else "asked there, of data"
    print(f"{claim.name}: {claim.title}\n\n{claim.statement}\n")
    print(f"verdict    {known['verdict'] if known else 'unknown: no book has been built here (make book)'}")
    print(f"chapter    {(BOOK / claim.chapter).relative_to(ROOT)}.py, {where}")
    for figure in known["figures"] if known else ():
        print(f"figure     book/{figure}")
    for check in known["checks"] if known else ():
        print(f"check      {check['verdict']:13} {check['role']:11} book/{check['chapter']}.html#{check['anchor']}")
    for function in claim.functions():
        print(f"function   {function}")
    for test in claim.tests:
        print(f"test       {test}")
    if options.run:
        command = [sys.executable, "-m", "pytest", "-o", "addopts=-ra", *claim.tests]
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    return None


def _terminate(number, frame):
    raise KeyboardInterrupt  # so that a build that is asked to end leaves no process behind


if __name__ == "__main__":
    if locale.getpreferredencoding(False).upper() != "UTF-8":  # texts of the book are, wherever it is built
        command = [sys.executable, "-m", "companion", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | {"PYTHONUTF8": "1"})
    signal.signal(signal.SIGTERM, _terminate)
    main()
