"""Building the spatial correlation sampler, only when asked, and taking it away again.

The wheel is built apart from the environment; it is installed when it exists, tested, and taken
back out when the test fails. ChromaBridge works without it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Optional

from install.environment import pip_environment
from install.errors import InstallError
from install.findings import PROBLEM
from install.kernel_source import PACKAGE, VERSION, adapt, fetch
from install.logged_pip import TIME_LIMIT_S, run_pip
from install.machine import Machine
from install.report import Report
from install.toolchain import Toolchain, look

#: The sampler against the sum that it stands for: every shift of a 15 x 15 window, in float32.
SELF_TEST = """
import sys, torch
from torch.nn.functional import pad
from spatial_correlation_sampler import spatial_correlation_sample
device = sys.argv[1]
torch.manual_seed(0)
a, b = (torch.randn(2, 24, 19, 23, device=device) for _ in range(2))
got = spatial_correlation_sample(a, b, patch_size=15)
wide = pad(b, (7, 7, 7, 7))
want = torch.stack([torch.stack([(a * wide[:, :, y:y + 19, x:x + 23]).sum(1)
    for x in range(15)], 1) for y in range(15)], 1)
error = (got - want).abs().max().item()
print(f"max error {error:.1e} of {want.abs().max().item():.1f}")
sys.exit(error > 1e-3)
"""


def build(
    python: Path,
    machine: Machine,
    report: Report,
    *,
    kind: str = "auto",
    log: Path,
    source: str = f"{PACKAGE}=={VERSION}",
    wheels: Optional[Path] = None,
    limit_s: float = TIME_LIMIT_S,
) -> Toolchain:
    """Build, install and test the sampler; on failure the environment is as it was before.

    kind: "cpu", "cuda", or "auto" for what torch can use. log: gets all that the compiler says.
    wheels: where the source comes from on a machine without a network.
    Raises InstallError `kernel_unready` before anything is done, or `kernel_failed`.
    """
    tools = look(machine, python, kind=kind)
    lacking = [finding for finding in tools.findings if finding.state == PROBLEM]
    if lacking:
        raise InstallError(
            "kernel_unready",
            "; ".join(finding.detail for finding in lacking),
            hint=" ".join(finding.fix for finding in lacking),
        )
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("", encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="chromabridge-") as folder:
        work = Path(folder)
        report.begin("kernel source")
        tree = fetch(python, machine, source, wheels, work, log)
        adapt(tree / "setup.py", tools.kind, machine)
        report.done("kernel source", tree.name)
        report.begin("kernel build", f"{tools.kind}, a minute or more; the log is {log}")
        wheel = _compile(python, machine, tools, tree, work, log, limit_s)
        report.done("kernel build", wheel.name)
        _install_tested(python, machine, tools.kind, wheel, work, log, report)
    return tools


def self_test(python: Path, machine: Machine, kind: str) -> str:
    """The line that a passing self-test prints. Raises InstallError `kernel_failed`."""
    ended = subprocess.run(
        [str(python), "-I", "-c", SELF_TEST, kind],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=pip_environment(machine),
        check=False,
    )
    text = ended.stdout.decode("utf-8", "replace").strip()
    if ended.returncode != 0:
        raise InstallError(
            "kernel_failed",
            f"the sampler fails its self-test: {text.splitlines()[-1] if text else 'no output'}",
            hint="ChromaBridge works without it; the PyTorch formula takes its place.",
        )
    return text


def remove(python: Path, machine: Machine) -> bool:
    """Uninstall the sampler; returns whether it was there."""
    if not _installed(python, machine):
        return False
    run_pip(python, machine, ["uninstall", "-y", PACKAGE], log=None)
    return True


def _compile(
    python: Path,
    machine: Machine,
    tools: Toolchain,
    tree: Path,
    work: Path,
    log: Path,
    limit_s: float,
) -> Path:
    env = pip_environment(machine)
    if tools.cuda_home:
        env["CUDA_HOME"] = tools.cuda_home
    headers = _cuda_headers(tools)
    if headers:
        env["CPLUS_INCLUDE_PATH"] = os.pathsep.join(
            [str(headers), *filter(None, [env.get("CPLUS_INCLUDE_PATH")])]
        )
    if tools.kind == "cuda" and tools.torch:
        env["TORCH_CUDA_ARCH_LIST"] = ";".join(tools.torch.capabilities)
    words = ["wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
    words += ["--wheel-dir", str(work / "built"), str(tree)]
    run_pip(python, machine, words, log=log, env=env, limit_s=limit_s)
    return next((work / "built").glob("*.whl"))


def _cuda_headers(tools: Toolchain) -> Optional[Path]:
    """Where the headers lie that a torch built for CUDA includes even in a CPU extension."""
    if tools.torch is None or not tools.torch.cuda:
        return None
    major = tools.torch.cuda.split(".")[0]
    own = tools.torch.packages / "nvidia" / f"cu{major}" / "include"
    for folder in (Path(tools.cuda_home) / "include" if tools.cuda_home else own, own):
        if (folder / "cuda_runtime_api.h").is_file():
            return folder
    return None


def _install_tested(
    python: Path, machine: Machine, kind: str, wheel: Path, work: Path, log: Path, report: Report
) -> None:
    """Install the wheel; when it fails its test, put back what was there before."""
    kept = _keep(python, machine, work, log)
    report.begin("kernel test")
    try:
        run_pip(python, machine, ["install", "--no-deps", "--force-reinstall", str(wheel)], log=log)
        line = self_test(python, machine, kind)
    except InstallError:
        run_pip(python, machine, ["uninstall", "-y", PACKAGE], log=log)
        if kept is not None:
            shutil.copytree(kept, _packages(python, machine), dirs_exist_ok=True)
        raise
    report.done("kernel test", line)


def _keep(python: Path, machine: Machine, work: Path, log: Path) -> Optional[Path]:
    """A copy of the files of an installed sampler, or None."""
    if not _installed(python, machine):
        return None
    packages, kept = _packages(python, machine), work / "kept"
    for path in packages.glob("spatial_correlation_sampler*"):
        if path.is_dir():
            shutil.copytree(path, kept / path.name)
        else:
            kept.mkdir(exist_ok=True)
            shutil.copy2(path, kept / path.name)
    return kept if kept.exists() else None


def _packages(python: Path, machine: Machine) -> Path:
    code = "import sysconfig; print(sysconfig.get_paths()['platlib'])"
    text = machine.run([str(python), "-I", "-c", code]) or ""
    return Path(text.strip())


def _installed(python: Path, machine: Machine) -> bool:
    return machine.run([str(python), "-m", "pip", "show", "-q", PACKAGE]) is not None
