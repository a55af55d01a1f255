"""What building the correlation sampler needs, and what of it this machine has."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from install.findings import NOTE, OK, PROBLEM, Finding
from install.machine import Machine

_ASK_TORCH = """
import json, sysconfig, torch
cards = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
print(json.dumps({
    "version": torch.__version__,
    "cuda": torch.version.cuda or "",
    "available": torch.cuda.is_available(),
    "capabilities": sorted({"%d.%d" % torch.cuda.get_device_capability(i) for i in cards}),
    "packages": sysconfig.get_paths()["purelib"],
}))
"""


@dataclass(frozen=True)
class Torch:
    """The torch of the server's environment. cuda: the version it was built with, or ""."""

    version: str
    cuda: str
    available: bool
    capabilities: tuple[str, ...]
    packages: Path


@dataclass(frozen=True)
class Toolchain:
    """Everything found. cuda_home, nvcc, compiler: where they are, or "". kind: what can be built,
    "cuda" where torch sees a device, else "cpu"."""

    torch: Optional[Torch]
    cuda_home: str
    nvcc: str
    nvcc_version: str
    compiler: str
    kind: str
    findings: tuple[Finding, ...]


def look(machine: Machine, python: Path, *, kind: str = "auto") -> Toolchain:
    """Look for everything that a build of this kind needs ("auto", "cpu" or "cuda")."""
    torch = _torch(machine, python)
    if kind == "auto":
        kind = "cuda" if torch and torch.available else "cpu"
    home = _cuda_home(machine)
    nvcc = _nvcc(machine, home)
    nvcc_version = _nvcc_version(machine, nvcc) if nvcc else ""
    compiler, compiler_text = _compiler(machine)
    needed = PROBLEM if kind == "cuda" else NOTE
    findings = (
        _about_torch(torch, kind),
        _about_toolkit(machine, home, needed),
        _about_nvcc(machine, nvcc, nvcc_version, torch, needed),
        _about_compiler(machine, compiler, compiler_text),
    )
    return Toolchain(torch, home, nvcc, nvcc_version, compiler, kind, findings)


def _torch(machine: Machine, python: Path) -> Optional[Torch]:
    text = machine.run([str(python), "-I", "-c", _ASK_TORCH])
    try:
        told = json.loads(text.strip().splitlines()[-1]) if text and text.strip() else None
    except ValueError:
        told = None
    if not isinstance(told, dict):
        return None
    return Torch(
        version=str(told["version"]),
        cuda=str(told["cuda"]),
        available=bool(told["available"]),
        capabilities=tuple(told["capabilities"]),
        packages=Path(told["packages"]),
    )


def _cuda_home(machine: Machine) -> str:
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if machine.env.get(name) and machine.exists(Path(machine.env[name])):
            return machine.env[name]
    if machine.system == "linux" and machine.exists(Path("/usr/local/cuda")):
        return "/usr/local/cuda"
    return ""


def _nvcc(machine: Machine, home: str) -> str:
    name = "nvcc.exe" if machine.windows else "nvcc"
    if home and machine.exists(Path(home) / "bin" / name):
        return str(Path(home) / "bin" / name)
    return machine.find("nvcc") or ""


def _nvcc_version(machine: Machine, nvcc: str) -> str:
    found = re.search(r"release (\d+\.\d+)", machine.run([nvcc, "--version"]) or "")
    return found.group(1) if found else ""


def _compiler(machine: Machine) -> tuple[str, str]:
    """The C++ compiler and its first line about itself; ("", "") when there is none."""
    if machine.windows:
        return _visual_studio(machine)
    named = machine.env.get("CXX", "")
    for name in (*([named] if named else []), "c++", "g++", "clang++"):
        path = machine.find(name)
        text = machine.run([path, "--version"]) if path else None
        if path and text:
            return path, text.splitlines()[0].strip()
    return "", ""


def _visual_studio(machine: Machine) -> tuple[str, str]:
    """cl.exe on PATH, or an installation of the C++ tools that vswhere knows."""
    cl = machine.find("cl")
    if cl:
        return cl, "cl.exe on PATH"
    folder = machine.env.get("ProgramFiles(x86)") or "C:/Program Files (x86)"
    vswhere = Path(folder) / "Microsoft Visual Studio" / "Installer" / "vswhere.exe"
    if not machine.exists(vswhere):
        return "", ""
    tools = "Microsoft.VisualStudio.Component.VC.Tools.x86.x64"
    command = [str(vswhere), "-latest", "-products", "*", "-requires", tools]
    text = machine.run([*command, "-property", "installationPath"]) or ""
    place = text.strip().splitlines()[0].strip() if text.strip() else ""
    return (place, f"C++ build tools in {place}") if place else ("", "")


def _about_torch(torch: Optional[Torch], kind: str) -> Finding:
    if torch is None:
        return Finding(
            "torch",
            PROBLEM,
            "torch cannot be imported in the server's environment",
            "Install the server: python3 install/bootstrap.py server",
        )
    build = f"built for CUDA {torch.cuda}" if torch.cuda else "built without CUDA"
    detail = f"torch {torch.version}, {build}"
    if torch.available:
        return Finding("torch", OK, f"{detail}, sees {', '.join(torch.capabilities)}")
    if kind == "cuda":
        fix = "Install the NVIDIA driver, then: python3 install/bootstrap.py server --torch cuda"
        return Finding("torch", PROBLEM, f"{detail}; it sees no CUDA device", fix)
    return Finding("torch", OK, f"{detail}; it sees no CUDA device, so the CPU build is the one")


def _about_toolkit(machine: Machine, home: str, needed: str) -> Finding:
    if home:
        return Finding("cuda.toolkit", OK, home)
    fix = {
        "win32": "Install the CUDA Toolkit from NVIDIA; its installer sets CUDA_PATH.",
        "darwin": "There is no CUDA for macOS; the CPU build needs none.",
    }.get(
        machine.system,
        "Install the CUDA Toolkit (package cuda-toolkit) and set CUDA_HOME=/usr/local/cuda.",
    )
    detail = "CUDA_HOME is not set and no toolkit was found"
    return Finding("cuda.toolkit", needed, detail + _not_needed(needed), fix)


def _about_nvcc(
    machine: Machine, nvcc: str, version: str, torch: Optional[Torch], needed: str
) -> Finding:
    wanted = torch.cuda if torch else ""
    fix = f"Install the CUDA Toolkit {wanted or 'that torch was built with'}, not another version."
    if not nvcc:
        where = "PATH" if machine.windows else "PATH or CUDA_HOME/bin"
        return Finding("cuda.nvcc", needed, f"no nvcc in {where}" + _not_needed(needed), fix)
    if not wanted:
        return Finding("cuda.nvcc", OK, f"{nvcc}, version {version or 'unknown'}; not needed")
    if version == wanted:
        return Finding("cuda.nvcc", OK, f"{nvcc}, version {version}, as torch")
    detail = f"nvcc is version {version or 'unknown'}, torch was built with CUDA {wanted}"
    return Finding("cuda.nvcc", needed, detail + _not_needed(needed), fix)


def _about_compiler(machine: Machine, compiler: str, text: str) -> Finding:
    if compiler:
        return Finding("compiler", OK, text)
    fix = {
        "win32": "Install Visual Studio Build Tools with 'Desktop development with C++'.",
        "darwin": "Install Apple's command line tools: xcode-select --install",
    }.get(machine.system, "Install a C++ compiler: apt install g++ (or dnf install gcc-c++).")
    return Finding("compiler", PROBLEM, "no C++ compiler was found", fix)


def _not_needed(needed: str) -> str:
    return "" if needed == PROBLEM else " (not needed for the CPU build)"
