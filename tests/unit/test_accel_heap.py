"""Freed memory stays in a worker's process, and goes back when asked for."""

from __future__ import annotations

import json
import logging
import platform
import subprocess
import sys
from dataclasses import replace

import pytest

from accel import heap
from accel.device import Facts, probe
from accel.plan import make_plan

GLIBC = Facts("cpu", "x", 2**34, 2**33, "2.6", allocator="glibc")

MEASURE = """
import json, resource, sys
from pathlib import Path
import numpy as np
from accel import heap

def resident():
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(r.split()[1]) for r in rows if r.startswith("VmRSS"))

if sys.argv[1] == "kept":
    heap.keep()
for _ in range(2):
    np.ones(2**23)  # 64 MiB, freed at once
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    np.ones(2**23)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
held = resident()
heap.give_back()
print(json.dumps({"faults": faults, "held": held, "left": resident()}))
"""


def test_glibcs_heap_is_kept_and_others_say_why_not() -> None:
    assert str(heap.choose_heap(GLIBC)) == "heap: kept"
    other = replace(GLIBC, allocator="libjemalloc.so.2")
    assert "allocates with libjemalloc.so.2, not glibc" in str(heap.choose_heap(other))


def test_a_preloaded_allocator_is_told_from_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libSegFault.so:/usr/lib/libtcmalloc.so.4")
    assert probe("cpu").allocator == "libtcmalloc.so.4"


def test_a_refusal_is_logged_and_the_system_serves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing:
        def mallopt(self, parameter: int, value: int) -> int:
            return 0

    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: Refusing())
    with caplog.at_level(logging.WARNING):
        heap.apply(GLIBC)
    assert "heap: system (kept: mallopt -1: expected -1 to be taken" in caplog.text


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the heap is glibc's")
def test_a_kept_heap_faults_no_page_twice_and_gives_all_back() -> None:
    found = {}
    for how in ("system", "kept"):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, how], capture_output=True, text=True, check=True
        )
        found[how] = json.loads(done.stdout)
    assert found["system"]["faults"] > 100  # huge pages count once
    assert found["kept"]["faults"] < 50
    assert found["kept"]["held"] - found["kept"]["left"] > 60 * 1024


def test_the_choice_stands_in_every_plan() -> None:
    plan = make_plan(GLIBC, "colormnet")
    assert plan.lines()[-1] == "heap: kept"
    assert plan.to_json()["choices"]["heap"]["chosen"] == "kept"
