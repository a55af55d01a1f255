"""`chromabridge kernels check|build|remove`: the optional correlation sampler."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from bridge_server.cli.output import EXIT_FAILED, EXIT_OK, say
from bridge_server.cli.weights import guarded
from host_plugins import places
from install import kernels, toolchain
from install.findings import healthy
from install.machine import Machine
from install.report import Report

app = typer.Typer(
    help="The correlation sampler, a faster path for ColorMNet on CUDA.", no_args_is_help=True
)


class Kind(str, Enum):
    """What to build for."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


KindOption = Annotated[Kind, typer.Option(help="auto takes what torch can use here.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command()
def check(kind: KindOption = Kind.auto, as_json: Json = False) -> None:
    """Say what a build needs and what of it is here; builds nothing."""

    def work() -> int:
        tools = toolchain.look(Machine(), Path(sys.executable), kind=kind.value)
        if as_json:
            found = [asdict(finding) for finding in tools.findings]
            say(json.dumps({"kind": tools.kind, "findings": found}, indent=1))
        else:
            say(f"for a {tools.kind} build:")
            for finding in tools.findings:
                say(f"  {finding.state:<8} {finding.name}: {finding.detail}")
                if finding.fix:
                    say(f"           {finding.fix}")
        return EXIT_OK if healthy(tools.findings) else EXIT_FAILED

    guarded(work)


@app.command()
def build(
    kind: KindOption = Kind.auto,
    time_limit: Annotated[float, typer.Option(help="Seconds for the build.")] = 1800.0,
    wheels: Annotated[
        Optional[Path], typer.Option(help="Folder that holds the source; asks no network.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build, install and test the sampler; leaves everything as it was when that fails."""

    def work() -> int:
        report = Report("kernels build", as_json=as_json)
        kernels.build(
            Path(sys.executable),
            Machine(),
            report,
            kind=kind.value,
            log=places.home() / "logs" / "kernels.log",
            wheels=wheels,
            limit_s=time_limit,
        )
        return report.finish()

    guarded(work)


@app.command()
def remove() -> None:
    """Uninstall the sampler."""

    def work() -> int:
        there = kernels.remove(Path(sys.executable), Machine())
        say("removed" if there else "it was not installed")
        return EXIT_OK

    guarded(work)
