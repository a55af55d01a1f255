"""`chromabridge compare` and `bench`: what a result changed, and what this machine can do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from bridge_server.cli.output import EXIT_FAILED, EXIT_OK, errors, run_guarded, say
from host_plugins.wire.errors import BridgeError


def compare(
    plate: Annotated[Path, typer.Argument(help="The black-and-white clip.")],
    result: Annotated[Path, typer.Argument(help="What came back.")],
    frames: Annotated[Optional[str], typer.Option(help="Frames of the plate.")] = None,
    space: Annotated[str, typer.Option(help="OCIO name of the space of both.")] = "",
    ocio: Annotated[str, typer.Option(help="OCIO config file or built-in name.")] = "",
    picture: Annotated[Optional[Path], typer.Option(help="PNG of the worst frame.")] = None,
) -> None:
    """Prove that only color changed: luma, size, length, rate and timecode of two clips."""

    def work() -> int:
        from bridge_server.picture.compare import compare as measure
        from bridge_server.picture.compare import describe

        found = measure(plate, result, frames=frames, space=space, config=ocio, picture=picture)
        for line in describe(found):
            say(line)
        return EXIT_OK if found.only_color_changed else EXIT_FAILED

    run_guarded(work)


def bench(
    effect: Annotated[
        Optional[list[str]], typer.Option(help="Effects to measure; default all that can run.")
    ] = None,
    size: Annotated[
        Optional[list[str]], typer.Option(help="HEIGHTxWIDTH, repeatable; default the seed's two.")
    ] = None,
    frames: Annotated[int, typer.Option(min=2, help="Frames a variant.")] = 6,
    movie: Annotated[Optional[Path], typer.Option(help="A clip; default drawn shapes.")] = None,
    exemplar: Annotated[Optional[Path], typer.Option(help="A still of that clip.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    plot: Annotated[Optional[Path], typer.Option(help="Write a PNG with bars.")] = None,
    record: Annotated[
        Optional[Path], typer.Option(help="Write the JSON here too, again after every row.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small frames, without compiling: minutes, not hours.")
    ] = False,
) -> None:
    """Measure each effect on this machine: plain, in low precision, compiled, all together.

    Compiling takes minutes a size on a CPU; what is compiled is kept for the server.
    """

    def work() -> int:
        from accel import compiling, device
        from bridge_server import bench as library
        from host_plugins import places

        compiling.use_cache(places.home() / "compiled")
        default = library.QUICK_SIZES if quick else library.SIZES
        chosen = library.without_compiling() if quick else library.VARIANTS

        facts = device.probe("auto")
        rows: list[Any] = []
        for name in effect or _usable():
            build = _builder(name)
            for height, width in _sizes(size, default):
                if movie is not None and exemplar is not None:
                    clip = library.footage_clip(movie, exemplar, height, width, frames)
                else:
                    clip = library.synthetic_clip(height, width, frames)
                for row in library.measure(name, build, facts, clip, variants=chosen):
                    rows.append(row)
                    if record is not None:
                        told = library.to_json(rows, facts, clip, _sources())
                        record.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
                    errors.print(f"measured {name} {height}x{width} {row.variant}", markup=False)
        if plot is not None:
            library.plot(rows, plot)
        if as_json:
            say(json.dumps(library.to_json(rows, facts, clip, _sources()), indent=1))
        else:
            say(library.text(rows))
        return EXIT_OK

    run_guarded(work)


def _sources() -> dict[str, str]:
    """Where each effect's installed weights came from, as the installer noted it."""
    from host_plugins import places
    from install import manifest, weight_store

    found = {}
    for entry in manifest.load().values():
        record = weight_store.read_record(entry, places.home())
        if record is not None or entry.bundled:
            found[entry.effect] = str(record["source"] if record else entry.bundled)
    return found


def _usable() -> list[str]:
    """Effects that can run here; the others are named with their reason."""
    from bridge_server.effects import registry

    usable = []
    for name in registry.offered():
        reason = registry.find(name).unavailable()
        if reason is None:
            usable.append(name)
        else:
            errors.print(f"left out {name}: {reason}", markup=False, soft_wrap=True)
    return usable


def _builder(name: str) -> Any:
    """What the bench builds a propagator with: the effect's own way, for a plan and a compiler."""
    from bridge_server.effects import registry
    from bridge_server.effects.effect import LoadRequest
    from host_plugins import places

    effect = registry.find(name)
    reason = effect.unavailable()
    if reason is not None:
        raise reason
    values = effect.describe_in_context("filter").effective({})

    def build(plan: Any, memory: Any, compiler: Any) -> Any:
        loaded = effect.load(LoadRequest(plan, places.home(), values, compiler))
        return effect.propagator(loaded, values, memory)

    return build


def _sizes(given: list[str] | None, default: tuple[tuple[int, int], ...]) -> Any:
    if not given:
        return default
    sizes = []
    for text in given:
        height, separator, width = text.partition("x")
        if not (separator and height.isdigit() and width.isdigit()):
            raise BridgeError("bad_param", f"--size: expected HEIGHTxWIDTH, got {text!r}")
        sizes.append((int(height), int(width)))
    return tuple(sizes)
