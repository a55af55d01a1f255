"""`chromabridge resolve ...`: color the timeline of a running DaVinci Resolve from a terminal."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.table import Table

from bridge_server.cli.colorize import default_effect, parse_exemplar, parse_params
from bridge_server.cli.output import EXIT_CANCELLED, EXIT_FAILED, EXIT_OK, console, run_guarded, say
from host_plugins.host_layer import Pin, Service, load_settings
from host_plugins.resolve_host.clean import clean as clean_up
from host_plugins.resolve_host.clips import choose_clips
from host_plugins.resolve_host.colorize import Run
from host_plugins.resolve_host.exemplars import add_exemplar
from host_plugins.resolve_host.host import ResolveHost, Watch, open_host
from host_plugins.resolve_host.markers import pins_of
from host_plugins.resolve_host.options import DEFAULT_PRESET, Options, load_preset, save_preset
from host_plugins.resolve_host.place import find_result
from host_plugins.resolve_host.preview import preview as preview_frame
from host_plugins.resolve_host.selftest import SelfTest
from host_plugins.resolve_host.steps import Step, drive
from host_plugins.wire.errors import BridgeError

app = typer.Typer(help="Color clips on the timeline of DaVinci Resolve.", no_args_is_help=True)

Clips = Annotated[
    Optional[str],
    typer.Option(help="playhead, selected, all, track:NUMBER or color:NAME (a clip color)."),
]
Effect = Annotated[Optional[str], typer.Option(help="The effect; see 'chromabridge effects'.")]
Params = Annotated[
    Optional[list[str]],
    typer.Option("--param", "-p", help="NAME=VALUE, a parameter of the effect. Repeatable."),
]
Exemplars = Annotated[
    Optional[list[str]],
    typer.Option(
        "--exemplar",
        "-e",
        help="Color still, or SOURCE_FRAME=STILL to pin it; beside those pinned to the clip. "
        "Repeatable.",
    ),
]
PlateOption = Annotated[Optional[str], typer.Option(help="graded, ungraded or file.")]
FormatOption = Annotated[Optional[str], typer.Option(help="Of renders: auto, tif or exr.")]
PlaceOption = Annotated[Optional[str], typer.Option(help="track, take or loader.")]
ResultOption = Annotated[Optional[str], typer.Option(help="auto, tiff, exr or movie.")]
Folder = Annotated[Optional[Path], typer.Option(help="Where results go.")]
Preset = Annotated[str, typer.Option(help="Saved options to begin with.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command("list")
def list_clips(clips: Clips = "all", as_json: Json = False) -> None:
    """List the clips of the current timeline, with their exemplars and results."""

    def work() -> int:
        host = open_host()
        watch = Watch(host)
        found, notes = choose_clips(host, watch.timeline, clips or "all")
        rows = [_told(host, watch, clip) for clip in found]
        if as_json:
            say(json.dumps({"resolve": host.edition.label, "clips": rows}, indent=1))
            return EXIT_OK
        say(host.edition.sentence)
        table = Table("track", "clip", "timecode", "frames", "source", "color", "exemplars",
                      "result")  # fmt: skip
        for row in rows:
            table.add_row(*(str(row[column.header]) for column in table.columns))  # type: ignore[index]
        console.print(table)
        for note in notes:
            say(note)
        return EXIT_OK

    run_guarded(work)


@app.command()
def preview(
    clips: Clips = None,
    effect: Effect = None,
    param: Params = None,
    exemplar: Exemplars = None,
    out: Annotated[Path, typer.Option(help="Folder for before and after.")] = Path("preview"),
    preset: Preset = DEFAULT_PRESET,
) -> None:
    """Color the frame at the playhead and write it beside the original, as PNG."""

    def work() -> int:
        host = open_host()
        service = _service(host)
        options = _options(preset, service, clips=clips, effect=effect, param=param,
                           exemplar=exemplar)  # fmt: skip
        made = drive(preview_frame(host, service, options, out.absolute()), sleep=host.calls.sleep)
        say(f"{made.clip}, frame {made.frame}: {made.before} {made.after}")
        for note in made.notes:
            say(note)
        return EXIT_OK

    run_guarded(work)


@app.command()
def colorize(
    clips: Clips = None,
    effect: Effect = None,
    param: Params = None,
    exemplar: Exemplars = None,
    plate: PlateOption = None,
    plate_format: FormatOption = None,
    place: PlaceOption = None,
    result: ResultOption = None,
    folder: Folder = None,
    preset: Preset = DEFAULT_PRESET,
) -> None:
    """Color clips and put the results on the timeline; a re-run redoes only what changed."""

    def work() -> int:
        host = open_host()
        service = _service(host)
        options = _options(preset, service, clips=clips, effect=effect, param=param,
                           exemplar=exemplar, plate=plate, plate_format=plate_format,
                           place=place, result=result, folder=folder)  # fmt: skip
        run = Run.new(host, service, options)
        stage: list[str] = []

        def show(step: Step) -> None:
            if step.sentence not in stage:
                stage[:] = [step.sentence]
                say(step.sentence)

        try:
            drive(run.steps(), sleep=host.calls.sleep, show=show)
        finally:
            _tell(run)
        whats = [outcome.what for outcome in run.outcomes]
        if "cancelled" in whats:
            return EXIT_CANCELLED
        return EXIT_FAILED if "failed" in whats else EXIT_OK

    run_guarded(work)


@app.command()
def exemplar(
    picture: Annotated[
        Optional[Path], typer.Argument(help="A color picture; or use --how.")
    ] = None,
    how: Annotated[str, typer.Option(help="file, still, render or gallery.")] = "file",
) -> None:
    """Pin an exemplar to the clip and frame at the playhead."""

    def work() -> int:
        host = open_host()
        notes: list[str] = []
        if how == "file" and picture is None:
            raise BridgeError("bad_exemplar", "expected a picture, or --how still|render|gallery")
        folder = load_settings().cache_root / "exemplars"
        path = str(picture.absolute()) if picture else ""
        steps = add_exemplar(host, folder, how, path=path, notes=notes)
        say(f"Pinned {drive(steps, sleep=host.calls.sleep).pin.label}")
        for note in notes:
            say(note)
        return EXIT_OK

    run_guarded(work)


@app.command()
def clean(
    results: Annotated[bool, typer.Option(help="Also our results on this timeline.")] = False,
    pins: Annotated[bool, typer.Option(help="Also the exemplar markers.")] = False,
) -> None:
    """Remove temporary timelines, presets, render jobs and plates that a killed run left."""

    def work() -> int:
        scratch = load_settings().cache_root / "plates"
        say(clean_up(open_host(), scratch=scratch, results=results, pins=pins).sentence)
        return EXIT_OK

    run_guarded(work)


@app.command()
def selftest(
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("resolve-selftest"),
) -> None:
    """Try everything in a scratch project and write a report of what this Resolve does."""

    def work() -> int:
        host = open_host()
        test = SelfTest(host, _service(host), out.absolute())
        try:
            drive(test.steps(), sleep=host.calls.sleep)
        finally:
            for check in test.checks:
                mark = {True: "passed", False: "FAILED", None: "noted"}[check.ok]
                say(f"{mark}  {check.title}: {check.found}".rstrip(": "))
            if test.report is not None:
                say(f"Report: {test.report}")
        return EXIT_OK if test.passed else EXIT_FAILED

    run_guarded(work)


@app.command("preset")
def keep_preset(
    name: Annotated[str, typer.Argument(help="Its name; the menu runs 'default'.")],
    clips: Clips = None,
    effect: Effect = None,
    param: Params = None,
    exemplar: Exemplars = None,
    plate: PlateOption = None,
    plate_format: FormatOption = None,
    place: PlaceOption = None,
    result: ResultOption = None,
    folder: Folder = None,
) -> None:
    """Save options for runs from Resolve's menu without a window; Resolve need not run."""

    def work() -> int:
        settings = load_settings()
        service = Service(settings, name="resolve", version="")
        options = _options("", service, clips=clips, effect=effect, param=param,
                           exemplar=exemplar, plate=plate, plate_format=plate_format,
                           place=place, result=result, folder=folder)  # fmt: skip
        say(f"Saved {save_preset(options, name)}")
        return EXIT_OK

    run_guarded(work)


@app.command(hidden=True)
def unpack(
    movie: Path,
    folder: Path,
    first: Annotated[int, typer.Option()],
    last: Annotated[int, typer.Option()],
) -> None:
    """Write frames of a movie as 16-bit TIFF: for the plugin, which has no decoder."""

    def work() -> int:
        from bridge_server.cli.resolve_media import unpack_movie

        unpack_movie(movie, folder, first, last)
        return EXIT_OK

    run_guarded(work)


@app.command(hidden=True)
def movie(
    pattern: str,
    target: Path,
    first: Annotated[int, typer.Option()],
    last: Annotated[int, typer.Option()],
    fps: Annotated[str, typer.Option()],
) -> None:
    """Encode a result sequence as ProRes 4444: for the plugin, which has no encoder."""

    def work() -> int:
        from bridge_server.cli.resolve_media import pack_movie

        pack_movie(pattern, target, first, last, Fraction(fps))
        return EXIT_OK

    run_guarded(work)


def _service(host: ResolveHost) -> Service:
    version = ".".join(str(part) for part in host.edition.version)
    return Service(load_settings(), name="resolve", version=version)


def _options(
    preset: str,
    service: Service,
    *,
    param: list[str] | None,
    exemplar: list[str] | None,
    folder: Path | None = None,
    **told: str | None,
) -> Options:
    """A preset with what the command line says on top."""
    base = load_preset(preset) if preset else Options()
    changes: dict[str, Any] = {name: value for name, value in told.items() if value is not None}
    if folder is not None:
        changes["folder"] = str(folder.absolute())
    if exemplar:
        changes["exemplars"] = tuple(_pin(text) for text in exemplar)
    if param:
        server = service.server(start=True)
        effect = changes.get("effect", base.effect) or default_effect(server)
        changes["values"] = {**base.values, **parse_params(server, effect, param)}
    options = Options(**{**vars(base), **changes})
    options.check()
    return options


def _pin(text: str) -> Pin:
    frame, path = parse_exemplar(text)
    return Pin(str(path.absolute()), frame)


def _told(host: ResolveHost, watch: Watch, clip: Any) -> dict[str, Any]:
    rate = host.rate(watch.timeline)
    return {
        "track": clip.track,
        "clip": clip.name,
        "timecode": rate.timecode(clip.range.first),
        "frames": clip.range.count,
        "source": f"{clip.first_index}-{clip.last_index}",
        "color": clip.color,
        "exemplars": len(pins_of(host.calls, clip)),
        "result": "yes" if find_result(host, watch.timeline, clip.uid) else "",
    }


def _tell(run: Run) -> None:
    for outcome in run.outcomes:
        say(outcome.sentence)
        if outcome.report is not None:
            say(f"  {outcome.report}")
        for note in outcome.notes:
            say(f"  {note}")
    for note in run.notes:
        say(note)
