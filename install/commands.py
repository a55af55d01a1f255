"""The command line of bootstrap.py: what may be asked for, and the steps behind each command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from install import checks, demo, environment
from install.errors import USAGE, InstallError
from install.lock import only_one
from install.machine import Machine
from install.report import Report

ROOT = Path(__file__).resolve().parent.parent
LOCK = ".bootstrap.lock"


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.command:
        parser.print_help()
        return USAGE
    report = Report(options.command, as_json=options.json)
    try:
        with only_one(ROOT / LOCK):
            _RUN[options.command](options, Machine(), report)
    except InstallError as error:
        report.failed(options.command, error)
        return report.finish(error.exit_code)
    except KeyboardInterrupt:
        stopped = InstallError("interrupted", "stopped by you", hint="Run it again to go on.")
        report.failed(options.command, stopped)
        return report.finish(stopped.exit_code)
    return report.finish()


def _test(options: argparse.Namespace, machine: Machine, report: Report) -> None:
    recipe = _recipe(options, groups=("lint", "test"))
    python = environment.ensure(recipe, machine, report)
    checks.run(ROOT, python, machine, report, options.only or ())


def _demo(options: argparse.Namespace, machine: Machine, report: Report) -> None:
    python = environment.ensure(_recipe(options), machine, report)
    demo.run(ROOT, python, machine, report)


def _server(options: argparse.Namespace, machine: Machine, report: Report) -> None:
    environment.ensure(_recipe(options), machine, report)


def _recipe(options: argparse.Namespace, *, groups: tuple[str, ...] = ()) -> environment.Recipe:
    return environment.Recipe(
        ROOT, groups=groups, torch=options.torch, torch_index=options.torch_index
    )


_RUN = {"test": _test, "demo": _demo, "server": _server}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bootstrap.py", description="Set ChromaBridge up, and see it work."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in (
        ("demo", "install, color the bundled clips, and make contact sheets"),
        ("test", "install, and run lint, types and all tests"),
        ("server", "install the server"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--json", action="store_true", help="report as one JSON object")
        command.add_argument(
            "--torch", choices=("auto", "cpu", "cuda"), default="auto", help="which torch"
        )
        command.add_argument("--torch-index", metavar="URL", help="an index for torch alone")
        if name == "test":
            command.add_argument(
                "--only",
                action="append",
                choices=("lint", "format", "imports", "types", "hosts", "tests"),
                help="run this check alone; may be given several times",
            )
    return parser
