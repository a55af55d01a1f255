"""What this machine can do, asked once; the only module that asks CUDA anything."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from accel.heap import give_back

OPTIONAL_PACKAGES = {
    "triton": "triton",
    "sageattention": "sageattention",
    "spatial_correlation_sampler": "spatial-correlation-sampler",
}


@dataclass(frozen=True)
class Package:
    """An optional library by its import name: its version, or why it cannot be used.

    cuda: whether its compiled part is linked with CUDA.
    """

    name: str
    version: str = ""
    problem: str = ""
    cuda: bool = False


@dataclass(frozen=True)
class Facts:
    """Everything that choices depend on, as plain data.

    kind: cpu, cuda or mps. capability: of the CUDA device, (major, minor). memory_bytes and
    free_bytes: of the device (of the machine, for cpu). arch_list: what this torch was built for.
    cpu_features: of avx512, avx512_bf16, amx_bf16, amx_fp16. compiler: the C++ compiler found.
    threads: intra-op threads of torch. graphs: whether the allocator can record CUDA graphs.
    allocator: of the process's own memory, glibc or another library by its name.
    """

    kind: str
    name: str
    memory_bytes: int
    free_bytes: int
    torch_version: str
    index: int = 0
    capability: tuple[int, int] | None = None
    cuda_version: str = ""
    arch_list: tuple[str, ...] = ()
    cpu_features: frozenset[str] = frozenset()
    compiler: str = ""
    threads: int = 1
    system: str = "Linux"
    graphs: bool = False
    allocator: str = ""
    packages: tuple[Package, ...] = ()

    def package(self, name: str) -> Package:
        missing = Package(name, problem=f"{OPTIONAL_PACKAGES.get(name, name)} is not installed")
        return next((package for package in self.packages if package.name == name), missing)

    @property
    def device(self) -> torch.device:
        return (
            torch.device(self.kind, self.index) if self.kind == "cuda" else torch.device(self.kind)
        )

    def to_json(self) -> dict[str, Any]:
        plain = asdict(self) | {"cpu_features": sorted(self.cpu_features)}
        plain["packages"] = {
            package.name: package.version or package.problem for package in self.packages
        }
        return plain


def probe(device: str = "auto") -> Facts:
    """Look at one device: auto, cpu, mps, cuda or cuda:N. auto takes the CUDA device with most
    free memory, else mps, else cpu.

    Raises ValueError with the reason when the device asked for cannot be used.
    """
    kind, index = _resolve(device)
    common: dict[str, Any] = {
        "kind": kind,
        "index": index,
        "torch_version": torch.__version__,
        "cpu_features": _cpu_features(),
        "compiler": find_compiler(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "allocator": _allocator(),
        "packages": tuple(_import(module, name) for module, name in OPTIONAL_PACKAGES.items()),
    }
    if kind == "cuda":
        return Facts(**common, **_cuda(index))
    total, free = machine_memory()
    name = platform.processor() or platform.machine()
    return Facts(name=_cpu_name() or name, memory_bytes=total, free_bytes=free, **common)


def free_bytes(facts: Facts) -> int:
    """Device bytes that are free now, those that torch or the heap keep for later included."""
    if facts.kind != "cuda":
        give_back()
        return machine_memory()[1]
    cached = torch.cuda.memory_reserved(facts.index) - torch.cuda.memory_allocated(facts.index)
    return int(torch.cuda.mem_get_info(facts.index)[0]) + cached


def release(facts: Facts) -> None:
    """Give kept memory back: after an out-of-memory, and when a device has nothing to do."""
    if facts.kind == "cuda":
        torch.cuda.empty_cache()
    elif facts.kind == "mps":
        torch.mps.empty_cache()
    give_back()


def wait(facts: Facts) -> None:
    """Return when the device has finished what was queued; for clocks, never for a frame."""
    if facts.kind == "cuda":
        torch.cuda.synchronize(facts.index)
    elif facts.kind == "mps":
        torch.mps.synchronize()


def reset_peak(facts: Facts) -> int:
    """Begin a measurement of peak memory; returns the bytes held now, to subtract from the peak.

    On a CPU it is the process's resident memory, after freed heap went back to the system.
    Raises ValueError where the system keeps no peak that can be reset (a CPU other than Linux's).
    """
    if facts.kind == "cuda":
        torch.cuda.reset_peak_memory_stats(facts.index)
        return torch.cuda.memory_allocated(facts.index)
    if facts.kind != "cpu" or facts.system != "Linux":
        raise ValueError(f"peak memory: expected CUDA or Linux, got {facts.kind}, {facts.system}")
    give_back()
    Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmRSS")


def peak_bytes(facts: Facts) -> int:
    """The most bytes held since reset_peak."""
    if facts.kind == "cuda":
        return torch.cuda.max_memory_allocated(facts.index)
    return _status_bytes("VmHWM")


def find_compiler() -> str:
    """The C++ compiler that torch.compile would call for a CPU, or an empty string."""
    asked = os.environ.get("CXX", "")
    names = ["cl"] if sys.platform == "win32" else ["g++", "c++", "clang++"]
    for name in [asked, *names] if asked else names:
        if path := shutil.which(name):
            return path
    return ""


def machine_memory() -> tuple[int, int]:
    """Total and available bytes of the machine; the control group's limit counts."""
    total = free = 0
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        rows = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        total = int(rows["MemTotal"].split()[0]) * 1024
        free = int(rows.get("MemAvailable", rows["MemFree"]).split()[0]) * 1024
    elif sys.platform == "win32":
        total, free = _windows_memory()
    elif hasattr(os, "sysconf"):
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        free = total // 2  # macOS names no free figure that means anything
    with contextlib.suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        total, free = min(total, limit), min(free, max(limit - used, 0))
    return total, free


def _resolve(device: str) -> tuple[str, int]:
    if device == "auto":
        if torch.cuda.is_available():
            free = [torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count())]
            return "cuda", free.index(max(free))
        return ("mps", 0) if torch.backends.mps.is_available() else ("cpu", 0)
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdigit()):
        raise ValueError(f"device: expected auto, cpu, mps, cuda or cuda:N, got {device!r}")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:
            built = "" if torch.version.cuda else "; this torch is built without CUDA"
            raise ValueError(f"device: expected one of {count} CUDA devices, got {device}{built}")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device: mps is not available on this machine")
    return kind, int(number or 0)


def _cuda(index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    return {
        "name": properties.name,
        "memory_bytes": int(properties.total_memory),
        "free_bytes": int(torch.cuda.mem_get_info(index)[0]),
        "capability": (properties.major, properties.minor),
        "cuda_version": torch.version.cuda or "",
        "arch_list": tuple(torch.cuda.get_arch_list()),
        "graphs": torch.cuda.get_allocator_backend() == "native",
    }


def _allocator() -> str:
    """A library preloaded in place of the system's, or the system's."""
    preloaded = os.environ.get("LD_PRELOAD", "").replace(":", " ").split()
    other = next((Path(path).name for path in preloaded if "malloc" in path), "")
    return other or platform.libc_ver()[0]


def _cpu_features() -> frozenset[str]:
    """Ask torch, which asks the processor; functions that an older torch lacks count as no."""
    questions = {
        "avx512": "_is_avx512_supported",
        "avx512_bf16": "_is_avx512_bf16_supported",
        "amx_bf16": "_is_amx_tile_supported",
        "amx_fp16": "_is_amx_fp16_supported",
    }
    return frozenset(
        feature for feature, ask in questions.items() if getattr(torch.cpu, ask, bool)()
    )


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return ""
    lines = cpuinfo.read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")


def _status_bytes(row: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(row + ":"))


def _import(module: str, distribution: str) -> Package:
    """Import an optional library and keep the text of what went wrong."""
    if importlib.util.find_spec(module) is None:
        return Package(module, problem=f"{distribution} is not installed")
    try:
        importlib.import_module(module)
    except (ImportError, OSError) as error:
        return Package(module, problem=f"{distribution} cannot be imported: {error}")
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    return Package(module, version, cuda=_linked_with_cuda(f"{module}_backend"))


def _linked_with_cuda(module: str) -> bool:
    """Read it from the library file: trying it with a CUDA tensor would end the process."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return False
    library = Path(spec.origin).read_bytes()
    return b"libc10_cuda" in library or b"c10_cuda.dll" in library


def _windows_memory() -> tuple[int, int]:
    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "a", "b", "c", "d", "e")),
        )

    status = Status(length=ctypes.sizeof(Status))
    windll: Any = getattr(ctypes, "windll")  # noqa: B009 - exists on Windows only
    windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.total), int(status.free)
