"""The command line of bootstrap.py: what may be asked for, and the steps behind each command."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from install import bundle, checks, demo, environment, hosts, places, uninstall
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
    exit_code: Optional[int] = None
    try:
        with only_one(ROOT / LOCK):
            exit_code = _RUN[options.command](options, Machine(), report)
    except InstallError as error:
        report.failed(options.command, error)
        return report.finish(error.exit_code)
    except KeyboardInterrupt:
        stopped = InstallError("interrupted", "stopped by you", hint="Run it again to go on.")
        report.failed(options.command, stopped)
        return report.finish(stopped.exit_code)
    return report.finish(exit_code)


def _test(options: argparse.Namespace, machine: Machine, report: Report) -> None:
    recipe = _recipe(options, groups=("lint", "test", "docs"))
    python = environment.ensure(recipe, machine, report)
    checks.run(ROOT, python, machine, report, options.only or ())


def _demo(options: argparse.Namespace, machine: Machine, report: Report) -> None:
    python = environment.ensure(_recipe(options), machine, report)
    demo.run(ROOT, python, machine, report)


def _server(options: argparse.Namespace, machine: Machine, report: Report) -> None:
    environment.ensure(_recipe(options), machine, report)
    if options.from_bundle:
        bundle.take_weights(options.from_bundle, places.home(machine), report)
    command = machine.venv_command(ROOT / ".venv", "chromabridge")
    report.done("server", f"start it with: {command} serve")


def _hosts(options: argparse.Namespace, machine: Machine, report: Report) -> None:
    python = environment.ensure(_recipe(options), machine, report)
    found = hosts.install(
        ROOT,
        places.home(machine),
        machine,
        msgpack=_package(python, "msgpack"),
        server_command=[str(machine.venv_command(ROOT / ".venv", "chromabridge"))],
        names=options.host or (),
    )
    for host in found:
        if host.version:
            report.done(host.name, f"{host.version}, by {host.place}; restart the host")
        else:
            report.skipped(host.name, f"not seen here; to serve it anyway: --host {host.name}")


def _weights(options: argparse.Namespace, machine: Machine, report: Report) -> Optional[int]:
    words = ["weights", "fetch", options.name] if options.name else ["weights", "list"]
    return _chromabridge(words, options, machine, report)


def _kernels(options: argparse.Namespace, machine: Machine, report: Report) -> Optional[int]:
    return _chromabridge(["kernels", options.action], options, machine, report)


def _check(options: argparse.Namespace, machine: Machine, report: Report) -> Optional[int]:
    return _chromabridge(["doctor"], options, machine, report)


def _make_bundle(options: argparse.Namespace, machine: Machine, report: Report) -> None:
    python = environment.ensure(_recipe(options), machine, report)
    groups = ("lint", "test", "docs") if options.with_tests else ()
    home = places.home(machine) if options.with_weights else None
    bundle.make(ROOT, python, options.folder, machine, report, groups=groups, weights=home)


def _uninstall(options: argparse.Namespace, machine: Machine, report: Report) -> None:
    uninstall.run(ROOT, places.home(machine), machine, report, everything=options.everything)


def _chromabridge(
    words: Sequence[str], options: argparse.Namespace, machine: Machine, report: Report
) -> Optional[int]:
    """Run one of the server's own commands in its environment; returns its exit code."""
    environment.ensure(_recipe(options), machine, report)
    command = str(machine.venv_command(ROOT / ".venv", "chromabridge"))
    code, _ = environment.run_visibly(
        [command, *words], env=environment.pip_environment(machine), cwd=ROOT, out=report.stream
    )
    name = " ".join(words)
    if code == 0:
        report.done(name, "done")
        return None
    report.failed(name, InstallError("command_failed", f"chromabridge {name} ended with {code}"))
    return code


def _package(python: Path, name: str) -> Path:
    """The folder of a package in an environment."""
    code = f"import json, {name}; print(json.dumps({name}.__path__[0]))"
    ended = subprocess.run([str(python), "-I", "-c", code], capture_output=True, check=True)
    return Path(json.loads(ended.stdout))


def _recipe(options: argparse.Namespace, *, groups: tuple[str, ...] = ()) -> environment.Recipe:
    wheels = bundle.check(options.from_bundle) if options.from_bundle else None
    return environment.Recipe(
        ROOT, groups=groups, torch=options.torch, torch_index=options.torch_index, wheels=wheels
    )


_RUN = {
    "demo": _demo,
    "test": _test,
    "server": _server,
    "hosts": _hosts,
    "weights": _weights,
    "kernels": _kernels,
    "check": _check,
    "make-bundle": _make_bundle,
    "uninstall": _uninstall,
}

_HELP = {
    "demo": "install, color the bundled clips, and make contact sheets",
    "test": "install, and run lint, types and all tests",
    "server": "install the server",
    "hosts": "install the server and its plugins into the hosts that are here",
    "weights": "fetch a network's official weights, or list them",
    "kernels": "check, build or remove the optional correlation sampler",
    "check": "say what works here and what does not",
    "make-bundle": "put all that an installation needs into a folder, for a machine offline",
    "uninstall": "take ChromaBridge off this machine",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bootstrap.py", description="Set ChromaBridge up, and see it work."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in _HELP.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--json", action="store_true", help="report as one JSON object")
        if name != "uninstall":
            _add_installing(command)
        _add_own(name, command)
    return parser


def _add_installing(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--torch", choices=("auto", "cpu", "cuda"), default="auto", help="which torch"
    )
    command.add_argument("--torch-index", metavar="URL", help="an index for torch alone")
    command.add_argument(
        "--from-bundle", metavar="FOLDER", type=Path, help="install from a bundle, offline"
    )


def _add_own(name: str, command: argparse.ArgumentParser) -> None:
    if name == "test":
        command.add_argument(
            "--only",
            action="append",
            choices=checks.NAMES,
            help="run this check alone; may be given several times",
        )
    elif name == "hosts":
        command.add_argument(
            "--host", action="append", choices=hosts.NAMES, help="serve this host even if not seen"
        )
    elif name == "weights":
        command.add_argument("name", nargs="?", help="the weights to fetch; none lists them")
    elif name == "kernels":
        command.add_argument("action", choices=("check", "build", "remove"))
    elif name == "make-bundle":
        command.add_argument("folder", type=Path, help="a new folder")
        command.add_argument("--with-tests", action="store_true", help="what `test` needs, too")
        command.add_argument("--with-weights", action="store_true", help="installed weights, too")
    elif name == "uninstall":
        command.add_argument(
            "--everything", action="store_true", help="weights, acceptances and settings, too"
        )
