"""The doctor's checks: system, torch and devices, plans, sampler, weights, server, hosts, color."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bridge_server.doctor import Check, Context
from host_plugins.wire.errors import BridgeError
from install import hosts, manifest, weights
from install.findings import NOTE, OK, PROBLEM, Finding
from install.machine import nvidia_driver

GIB = 1 << 30
LOW_DISK_BYTES = 2 * GIB
PACKAGES = ("bridge_server", "host_plugins", "models", "accel", "install")
LIBRARIES = ("numpy", "pyzmq", "msgpack", "av", "OpenImageIO", "opencolorio", "safetensors")
REINSTALL = "python3 install/bootstrap.py server"


def system(context: Context) -> Iterator[Finding]:
    """The system, Python, and whether our packages are our own."""
    cores = os.cpu_count() or 1
    yield Finding("system", OK, f"{platform.platform()}, {platform.machine()}, {cores} cores")
    yield Finding("python", OK, f"{platform.python_version()} in {sys.prefix}")
    roots = {Path(str(importlib.import_module(name).__file__)).parent.parent for name in PACKAGES}
    if roots == {context.root}:
        yield Finding("packages", OK, f"ChromaBridge {_version('chromabridge')} in {context.root}")
    else:
        foreign = ", ".join(sorted(str(root) for root in roots - {context.root}))
        fix = "Take that folder off PYTHONPATH, or start elsewhere."
        yield Finding("packages", PROBLEM, f"some packages come from {foreign}", fix)


def disk(context: Context) -> Iterator[Finding]:
    """Room where weights, caches and snapshots go."""
    folder = next(path for path in (context.home, *context.home.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free / GIB:.1f} GiB free in {context.home}"
    if not os.access(folder, os.W_OK):
        fix = "Choose a folder that you own with CHROMABRIDGE_HOME."
        yield Finding("disk", PROBLEM, f"{folder} is not writable", fix)
    elif free < LOW_DISK_BYTES:
        yield Finding("disk", PROBLEM, detail, "Free some space, or set CHROMABRIDGE_HOME.")
    else:
        yield Finding("disk", OK, detail)


def libraries(context: Context) -> Iterator[Finding]:
    """What the server is built on."""
    for name in LIBRARIES:
        version = _version(name)
        if version:
            yield Finding(f"library.{name}", OK, version)
        else:
            yield Finding(f"library.{name}", PROBLEM, f"{name} is not installed", REINSTALL)


def devices(context: Context) -> Iterator[Finding]:
    """Torch, the device that would be used, and one real convolution on it."""
    import torch

    from accel import device

    facts = device.probe()
    cuda = f"CUDA {facts.cuda_version}" if facts.cuda_version else "no CUDA"
    yield Finding("torch", OK, f"{facts.torch_version}, {cuda}, {facts.threads} threads")
    memory = f"{facts.free_bytes / GIB:.1f} of {facts.memory_bytes / GIB:.1f} GiB free"
    yield Finding("device", OK, f"{facts.kind}: {facts.name}, {memory}")
    if facts.capability and facts.arch_list:
        wanted = f"sm_{facts.capability[0]}{facts.capability[1]}"
        if wanted not in facts.arch_list and not _compiles_for(facts.arch_list, facts.capability):
            fix = "Install a torch that was built for it: bootstrap.py server --torch-index URL"
            detail = f"this torch was built for {', '.join(facts.arch_list)}, not for {wanted}"
            yield Finding("device.arch", PROBLEM, detail, fix)
    if facts.kind == "cpu" and _has_nvidia(context):
        fix = "python3 install/bootstrap.py server --torch cuda"
        yield Finding("device.unused", PROBLEM, "torch does not see the NVIDIA device", fix)
    with torch.inference_mode():
        picture = torch.rand(1, 16, 256, 256, device=facts.device)
        kernel = torch.rand(16, 16, 3, 3, device=facts.device)
        begun = time.perf_counter()
        total = float(torch.nn.functional.conv2d(picture, kernel).mean().cpu())
        took = (time.perf_counter() - begun) * 1000
    yield Finding("device.works", OK if total > 0 else PROBLEM, f"a convolution took {took:.0f} ms")


def plans(context: Context) -> Iterator[Finding]:
    """What was chosen for each effect, with every reason."""
    from accel import device, plan

    facts = device.probe()
    for effect in ("colormnet", "deep_exemplar", "starter"):
        made = plan.make_plan(facts, effect)
        detail = "; ".join(made.lines()[1:])
        yield Finding(f"plan.{effect}", OK, f"{made.tier.name}: {detail}")


def sampler(context: Context) -> Iterator[Finding]:
    """Which path ColorMNet's correlation takes, timed here on one 480p frame's worth of windows."""
    import torch

    from accel import correlation, device

    facts = device.probe()
    choice = correlation.choose_correlation(facts, "auto", network_correlates=True)
    query = torch.randn(1, 64, 30, 54, device=facts.device)
    plain = _milliseconds(lambda: correlation.torch_correlation(query, query, 7), facts)
    refusals = correlation.SAMPLER.why_not(facts)
    if refusals:
        detail = f"fallback mode: PyTorch formula, {plain:.1f} ms ({'; '.join(refusals)})"
        fix = "Optional: chromabridge kernels build" if facts.kind == "cuda" else ""
        yield Finding("sampler", NOTE if fix else OK, detail, fix)
        return
    built = correlation.SAMPLER.build(facts)
    fast = _milliseconds(lambda: built(query, query, 7), facts)
    mode = "optimized mode" if choice.name == "sampler" else "installed, not used"
    yield Finding("sampler", OK, f"{mode}: sampler {fast:.1f} ms, PyTorch formula {plain:.1f} ms")


def weights_here(context: Context) -> Iterator[Finding]:
    """Weights and their terms; at least one effect has to be usable."""
    rows = weights.listing(manifest.load(), context.home, context.root)
    usable = 0
    for row in rows:
        name = f"weights.{row.name}"
        terms = f"{row.spdx}{'' if row.commercial else ' (non-commercial)'}"
        if row.state == "broken":
            fix = f"chromabridge weights fetch {row.name}"
            yield Finding(name, PROBLEM, f"{row.detail}; {terms}", fix)
        elif not row.allowed:
            yield Finding(name, NOTE, f"off: {row.reason}", f"chromabridge license show {row.name}")
        elif row.state == "missing":
            fix = f"Optional: chromabridge weights fetch {row.name}"
            yield Finding(name, NOTE, f"not installed; {terms}", fix)
        else:
            usable += 1
            yield Finding(name, OK, f"{row.state}, SHA-256 {row.sha256[:12]}; {terms}")
    if not usable:
        fix = "chromabridge weights fetch deep_exemplar"
        yield Finding("weights", PROBLEM, "no weights that may be used are here", fix)


def server(context: Context) -> Iterator[Finding]:
    """The server that runs now, if one does."""
    from host_plugins.client import connect

    try:
        with connect(start=False, name="chromabridge doctor") as running:
            told = running.status()
    except BridgeError as error:
        if error.code == "no_server":
            yield Finding("server", OK, "none runs; the first job starts one")
        else:
            yield Finding("server", PROBLEM, f"{error.message} [{error.code}]", error.hint)
        return
    ours = _version("chromabridge")
    detail = f"{told['version']}, pid {told['pid']}, {told['state']}, up {told['uptime_s']} s"
    if told["version"] == ours:
        yield Finding("server", OK, detail)
    else:
        fix = "chromabridge stop; the next job starts the new one"
        yield Finding("server", PROBLEM, f"{detail}; {ours} is installed", fix)


def host_plugins(context: Context) -> Iterator[Finding]:
    """Which hosts have our plugin, and whether it is of this version."""
    ours = _version("chromabridge")
    fix = "python3 install/bootstrap.py hosts"
    for host in hosts.installed(context.machine, context.home):
        if host.version == ours:
            yield Finding(f"host.{host.name}", OK, f"{host.version} in {host.place}")
        elif host.version:
            detail = f"{host.version} in {host.place}, the server is {ours}"
            yield Finding(f"host.{host.name}", PROBLEM, detail, fix)
        else:
            yield Finding(f"host.{host.name}", OK, "not installed")


def color(context: Context) -> Iterator[Finding]:
    """OpenColorIO and the configuration that $OCIO names."""
    import PyOpenColorIO as ocio

    yield Finding("ocio", OK, f"OpenColorIO {ocio.__version__}")
    named = context.machine.env.get("OCIO", "")
    if not named:
        yield Finding("ocio.config", OK, "$OCIO is not set; a built-in configuration is used")
        return
    try:
        config = ocio.Config.CreateFromFile(named)
        config.validate()
    except ocio.Exception as error:
        fix = "Let $OCIO name a configuration that opens, or unset it."
        reason = str(error).strip().splitlines()[0]
        yield Finding("ocio.config", PROBLEM, f"$OCIO={named} cannot be used: {reason}", fix)
        return
    yield Finding("ocio.config", OK, f"$OCIO={named}")


CHECKS: tuple[tuple[str, Check], ...] = (
    ("system", system),
    ("system", disk),
    ("libraries", libraries),
    ("devices", devices),
    ("plan", plans),
    ("plan", sampler),
    ("weights", weights_here),
    ("server", server),
    ("hosts", host_plugins),
    ("color", color),
)


def _has_nvidia(context: Context) -> bool:
    return nvidia_driver(context.machine) is not None


def _compiles_for(arch_list: tuple[str, ...], capability: tuple[int, int]) -> bool:
    """Whether one of the architectures serves a device of the same major, or carries PTX."""
    for arch in arch_list:
        digits = "".join(letter for letter in arch.split("_")[-1] if letter.isdigit())
        major, minor = int(digits[:-1] or 0), int(digits[-1:] or 0)
        if arch.startswith("compute_") and (major, minor) <= capability:
            return True
        if major == capability[0] and minor <= capability[1]:
            return True
    return False


def _milliseconds(work: Callable[[], object], facts: object) -> float:
    """The fastest of three runs after one that is not counted."""
    import torch

    from accel import device

    times = []
    with torch.inference_mode():
        for _ in range(4):
            begun = time.perf_counter()
            work()
            device.wait(facts)  # type: ignore[arg-type]
            times.append((time.perf_counter() - begun) * 1000)
    return min(times[1:])


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
