"""How full the device is, as a worker tells it to the front; cheap enough for every heartbeat."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from accel.device import Facts, machine_memory


def device_memory(facts: Facts | None) -> dict[str, str | int]:
    """Bytes: used of total, held, which is this worker's own share, and the peak of that since
    the worker began; and the device's name.

    CUDA: used and total are the device's, held is what torch's allocator reserved. Any other
    device works in the machine's memory: used and held are this process's resident memory, total
    is the budget, which is that and what the machine has free. facts: None before a device was
    chosen.
    """
    if facts is not None and facts.kind == "cuda":
        free, total = torch.cuda.mem_get_info(facts.index)
        held = torch.cuda.memory_reserved(facts.index)
        return {
            "device": f"cuda:{facts.index}",
            "used": int(total - free),
            "total": int(total),
            "held": int(held),
            "peak": int(torch.cuda.max_memory_reserved(facts.index)),
        }
    resident = resident_bytes()
    return {
        "device": "cpu" if facts is None else facts.kind,
        "used": resident,
        "total": resident + machine_memory()[1],
        "held": resident,
        "peak": max(resident, peak_resident_bytes()),
    }


def resident_bytes() -> int:
    """This process's memory that is not swapped out; its peak where the system names no other."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        pass
    return peak_resident_bytes()


def peak_resident_bytes() -> int:
    """The most that was resident of this process; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if os.uname().sysname == "Darwin" else peak * 1024
