"""`chromabridge colorize` and `still`: a clip or a picture, through the server."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Optional

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bridge_server.cli.output import EXIT_CANCELLED, EXIT_OK, errors, run_guarded, say
from host_plugins.client import BridgeError, Server, connect

Exemplars = Annotated[
    list[str],
    typer.Option("--exemplar", "-e", help="Color still, or FRAME=STILL to pin it. Repeatable."),
]
Out = Annotated[Path, typer.Option("--output", "-o", help="Where the result goes.")]
EffectName = Annotated[
    Optional[str], typer.Option("--effect", help="See 'chromabridge effects'; default the first.")
]
Params = Annotated[
    Optional[list[str]],
    typer.Option("--param", "-p", help="NAME=VALUE, a parameter of the effect. Repeatable."),
]
Report = Annotated[bool, typer.Option("--report", help="Print the performance report.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]


def colorize(
    clip: Annotated[Path, typer.Argument(help="Movie, shot.####.exr, shot.%04d.exr or a folder.")],
    exemplar: Exemplars,
    output: Out,
    effect: EffectName = None,
    param: Params = None,
    frames: Annotated[Optional[str], typer.Option(help="For example 1001-1100 or 1-99x2.")] = None,
    cuts: Annotated[Optional[str], typer.Option(help="First frames of new shots: 48,130.")] = None,
    codec: Annotated[str, typer.Option(help="Movie codec; default as the plate or ProRes.")] = "",
    bit_depth: Annotated[Optional[int], typer.Option(help="8, 10, 12, 16; 32 is float.")] = None,
    compression: Annotated[str, typer.Option(help="Of image files; default as the plate.")] = "",
    chroma_layer: Annotated[bool, typer.Option(help="Add the color alone as EXR layer.")] = False,
    audio: Annotated[bool, typer.Option(help="Carry the audio over.")] = True,
    rate: Annotated[Optional[str], typer.Option(help="25 or 24000/1001, for images.")] = None,
    ocio: Annotated[str, typer.Option(help="OCIO config file or built-in name.")] = "",
    overwrite: Overwrite = False,
    report: Report = False,
) -> None:
    """Color a clip from one or more color stills."""

    def work() -> int:
        from bridge_server.headless.job import ColorizeJob
        from bridge_server.media import Deliver

        with connect(name="chromabridge colorize") as server:
            name = effect or default_effect(server)
            job = ColorizeJob(
                plate=clip,
                output=output,
                effect=name,
                exemplars=tuple(parse_exemplar(text) for text in exemplar),
                parameters=parse_params(server, name, param or []),
                frames=frames,
                cuts=parse_cuts(cuts),
                deliver=Deliver(
                    codec=codec,
                    bit_depth=bit_depth,
                    compression=compression,
                    chroma_layer=chroma_layer,
                    audio=audio,
                    rate=parse_rate(rate),
                ),
                overwrite=overwrite,
                ocio_config=ocio,
            )
            return run_job(server, job, report=report)

    run_guarded(work)


def still(
    image: Annotated[Path, typer.Argument(help="Black-and-white picture.")],
    exemplar: Exemplars,
    output: Out,
    effect: EffectName = None,
    param: Params = None,
    overwrite: Overwrite = False,
    report: Report = False,
) -> None:
    """Color one picture."""

    def work() -> int:
        from bridge_server.headless.job import ColorizeJob

        with connect(name="chromabridge still") as server:
            name = effect or default_effect(server)
            job = ColorizeJob(
                plate=image,
                output=output,
                effect=name,
                exemplars=tuple(parse_exemplar(text) for text in exemplar),
                parameters=parse_params(server, name, param or []),
                overwrite=overwrite,
                priority="interactive",
            )
            return run_job(server, job, report=report)

    run_guarded(work)


def run_job(server: Server, job: Any, *, report: bool = False) -> int:
    """Run a job with a progress bar; Ctrl-C keeps what is finished."""
    from bridge_server.headless.runner import Progress as Done
    from bridge_server.headless.runner import Runner

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} frames/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=not errors.is_terminal) as bar:
        task = bar.add_task(job.effect, total=None, rate="-")

        def progress(done: Done) -> None:
            speed = bar.tasks[0].speed
            bar.update(
                task,
                description=job.effect,
                completed=done.done,
                total=done.total,
                rate=f"{speed:.1f}" if speed else "-",
            )

        def event(name: str, data: Mapping[str, Any]) -> None:
            said = {"loading": "loading", "compiling": "compiling, minutes the first time,"}
            if name in said:
                bar.update(task, description=f"{said[name]} {job.effect}")

        runner = Runner(job, server, on_progress=progress, on_event=event)
        previous = signal.getsignal(signal.SIGINT)

        def cancel(number: int, frame: FrameType | None) -> None:
            bar.update(task, description="cancelling")
            signal.signal(signal.SIGINT, previous)
            runner.cancel()

        signal.signal(signal.SIGINT, cancel)
        try:
            record = runner.run()
        finally:
            signal.signal(signal.SIGINT, previous)
    for text in record.warnings:
        errors.print(f"warning: {text}", markup=False, soft_wrap=True)
    seconds = record.times_s["wall"]
    if record.frames_kept:
        say(f"{record.frames_kept} frames unchanged since an earlier run, kept")
    say(
        f"{record.frames_done} of {record.frames_asked} frames in {seconds:.1f} s "
        f"({record.frames_per_s:.2f} frames/s): {job.output}"
    )
    if record.journal:
        say(f"the same command goes on with it, out of {record.journal}")
    for line in record.lines() if report else ():
        say(line)
    return EXIT_CANCELLED if record.status == "cancelled" else EXIT_OK


def default_effect(server: Server) -> str:
    """The first effect that the server offers. Raises `unknown_effect` when it offers none."""
    if not server.effects:
        raise BridgeError("unknown_effect", "expected a server with effects, got one without")
    return server.effects[0]


def parse_exemplar(text: str) -> tuple[int | None, Path]:
    """STILL, or FRAME=STILL. A file whose own name has the form is taken as it is."""
    number, separator, path = text.partition("=")
    if separator and number.lstrip("-").isdigit() and not Path(text).exists():
        return int(number), Path(path)
    return None, Path(text)


def parse_cuts(text: str | None) -> frozenset[int]:
    """Comma-separated frame numbers. Raises BridgeError `bad_param`."""
    try:
        return frozenset(int(number) for number in (text or "").split(",") if number.strip())
    except ValueError:
        raise BridgeError("bad_param", f"--cuts: expected 48,130, got {text!r}") from None


def parse_rate(text: str | None) -> Fraction | None:
    """A frame rate, exact. Raises BridgeError `bad_param`."""
    if text is None:
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise BridgeError("bad_param", f"--rate: expected 25 or 24000/1001, got {text!r}")
    return rate


def parse_params(server: Server, effect: str, given: list[str]) -> dict[str, Any]:
    """NAME=VALUE by the kinds that the effect's descriptor gives them.

    Raises BridgeError `unknown_effect`, `unknown_param`, `bad_param`.
    """
    kinds = {param["name"]: param["kind"] for param in server.describe(effect)["params"]}
    values: dict[str, Any] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or name not in kinds:
            raise BridgeError(
                "unknown_param", f"--param: expected NAME=VALUE of {', '.join(kinds)}, got {text!r}"
            )
        values[name] = _typed(name, kinds[name], value)
    return values


def _typed(name: str, kind: str, text: str) -> Any:
    try:
        if kind == "int":
            return int(text)
        if kind == "double":
            return float(text)
        if kind == "bool":
            return {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}[
                text.lower()
            ]
    except (ValueError, KeyError):
        raise BridgeError("bad_param", f"{name}: expected {kind}, got {text!r}") from None
    return text
