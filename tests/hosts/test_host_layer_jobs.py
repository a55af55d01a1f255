"""Jobs of the host layer against the fake server: order, faults, cancel, cache, record."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from fake_bridge import FakeBridge

from host_plugins.client import Buffer
from host_plugins.host_layer import (
    Job,
    JobSpec,
    Pin,
    PlateFile,
    PlatePlane,
    PlateQueue,
    Service,
    Settings,
)
from host_plugins.wire.errors import BridgeError


@pytest.fixture
def bridge() -> FakeBridge:
    return FakeBridge()


@pytest.fixture
def service(bridge: FakeBridge, tmp_path: Path) -> Service:
    settings = Settings(cache=str(tmp_path / "cache"))
    return Service(settings, name="test", version="1", connect=bridge.connect)  # type: ignore[arg-type]


def plates(folder: Path, count: int, first: int = 1001) -> list[PlateFile]:
    folder.mkdir(exist_ok=True)
    made = []
    for index in range(first, first + count):
        path = folder / f"plate.{index:06d}.exr"
        if not path.exists():
            path.write_bytes(f"frame {index}".encode())
        made.append(PlateFile(index, path))
    return made


def spec(tmp_path: Path, name: str = "run", **values: object) -> JobSpec:
    still = tmp_path / "still.png"
    if not still.exists():
        still.write_bytes(b"colors")
    return JobSpec("starter", values, (Pin(str(still), 1001),), tmp_path / name, total=12)


def finished(job: Job) -> dict[int, bytes]:
    assert job.wait(20)
    return {index: path.read_bytes() for index, path in job.poll().finished}


def unbroken(tmp_path: Path, count: int = 12) -> dict[int, bytes]:
    settings = Settings(cache=str(tmp_path / "other cache"))
    other = Service(settings, name="t", version="1", connect=FakeBridge().connect)  # type: ignore[arg-type]
    return finished(other.start(spec(tmp_path, "unbroken"), plates(tmp_path / "plates", count)))


def test_all_frames_come_in_order_with_a_record(service: Service, tmp_path: Path) -> None:
    job = service.start(spec(tmp_path), plates(tmp_path / "plates", 12))
    results = finished(job)
    state = job.poll()
    assert list(results) == list(range(1001, 1013))
    assert (state.stage, state.done, state.fraction, state.finished) == ("done", 12, 1.0, ())
    record = json.loads((tmp_path / "run" / "result.record.json").read_text())
    assert record["outcome"] == "done"
    assert record["why they differ"] == ["less was possible"]
    assert state.report is not None
    assert "less was possible" in state.report.read_text()


def test_the_second_run_computes_nothing_and_gives_the_same_files(
    service: Service, bridge: FakeBridge, tmp_path: Path
) -> None:
    first = finished(service.start(spec(tmp_path), plates(tmp_path / "plates", 12)))
    served = bridge.served
    job = service.start(spec(tmp_path, "again"), plates(tmp_path / "plates", 12))
    assert finished(job) == first
    assert job.poll().cached == 12
    assert bridge.served == served


def test_a_changed_plate_is_run_again_from_there_on(
    service: Service, bridge: FakeBridge, tmp_path: Path
) -> None:
    before = finished(service.start(spec(tmp_path), plates(tmp_path / "plates", 12)))
    (tmp_path / "plates" / "plate.001006.exr").write_bytes(b"another picture")
    job = service.start(spec(tmp_path), plates(tmp_path / "plates", 12))
    after = finished(job)
    assert [i for i in after if after[i] == before[i]] == list(range(1001, 1006))
    assert job.poll().cached == 5
    assert after == unbroken(tmp_path)


def test_another_value_is_another_result_and_going_back_costs_nothing(
    service: Service, bridge: FakeBridge, tmp_path: Path
) -> None:
    first = finished(service.start(spec(tmp_path), plates(tmp_path / "plates", 4)))
    other = finished(service.start(spec(tmp_path, saturation=0.5), plates(tmp_path / "plates", 4)))
    assert all(first[i] != other[i] for i in first)
    served = bridge.served
    assert finished(service.start(spec(tmp_path), plates(tmp_path / "plates", 4))) == first
    assert bridge.served == served


@pytest.mark.parametrize("forgets", [True, False])
@pytest.mark.parametrize("die_at", [1, 6, 12])
def test_a_server_that_dies_is_started_again_and_no_frame_is_lost(
    service: Service, bridge: FakeBridge, tmp_path: Path, die_at: int, forgets: bool
) -> None:
    bridge.die_at, bridge.forgets = die_at, forgets
    job = service.start(spec(tmp_path), plates(tmp_path / "plates", 12))
    assert finished(job) == unbroken(tmp_path)
    assert bridge.started == 2
    assert job.poll().done == 12


@pytest.mark.parametrize("forgets", [True, False])
def test_a_host_that_died_goes_on_where_it_was(
    service: Service, bridge: FakeBridge, tmp_path: Path, forgets: bool
) -> None:
    first = service.start(spec(tmp_path), plates(tmp_path / "plates", 7))
    finished(first)
    bridge.forgets = forgets
    bridge.die()
    again = Service(service.settings, name="t", version="1", connect=bridge.connect)  # type: ignore[arg-type]
    served = bridge.served
    job = again.start(spec(tmp_path), plates(tmp_path / "plates", 12))
    assert finished(job) == unbroken(tmp_path)
    assert job.poll().cached == 7
    assert bridge.served - served == (12 if forgets else 8)


def test_a_server_that_was_just_started_is_waited_for(bridge: FakeBridge, tmp_path: Path) -> None:
    asked: list[bool] = []

    def connect(*, start: bool, **_: object) -> object:
        asked.append(start)
        if len(asked) < 3:  # the connection file is still that of a server that was killed
            raise BridgeError("no_server", "nobody listens there")
        return bridge.connect()

    settings = Settings(cache=str(tmp_path / "cache"))
    service = Service(settings, name="t", version="1", connect=connect)  # type: ignore[arg-type]
    assert service.panel("starter", start=True).result(5).effect == "starter"
    assert asked == [True, False, False]  # one server is started, not three


def test_a_servers_state_of_other_frames_is_never_built_upon(
    service: Service, bridge: FakeBridge, tmp_path: Path
) -> None:
    bridge.forgets = False
    finished(service.start(spec(tmp_path), plates(tmp_path / "plates", 8)))
    (tmp_path / "plates" / "plate.001002.exr").write_bytes(b"another picture")
    job = service.start(spec(tmp_path), plates(tmp_path / "plates", 12))
    assert finished(job) == unbroken(tmp_path)


def test_cancel_keeps_what_is_finished(
    service: Service, bridge: FakeBridge, tmp_path: Path
) -> None:
    bridge.gate = threading.Event()
    job = service.start(spec(tmp_path), plates(tmp_path / "plates", 12))
    while not bridge.opened:
        time.sleep(0.005)
    job.cancel()
    assert job.wait(5)
    assert job.poll().stage == "cancelled"
    assert job.poll().message is None
    bridge.gate = None
    assert finished(service.start(spec(tmp_path), plates(tmp_path / "plates", 12))) == unbroken(
        tmp_path
    )


def test_frames_that_a_host_renders_meanwhile_are_taken_as_they_appear(
    service: Service, tmp_path: Path
) -> None:
    queue = PlateQueue()
    job = service.start(spec(tmp_path), queue)
    seen: list[int] = []
    for plate in plates(tmp_path / "plates", 6):
        queue.put(plate)
        until = time.monotonic() + 5
        while plate.index not in seen and time.monotonic() < until:
            seen += [index for index, _ in job.poll().finished]
            time.sleep(0.002)
        assert seen[-1] == plate.index  # its result did not wait for the next frame
    queue.close()
    assert job.wait(5)
    assert job.poll().done == 6


def test_a_host_whose_render_fails_keeps_the_frames_before(
    service: Service, tmp_path: Path
) -> None:
    queue = PlateQueue()
    for plate in plates(tmp_path / "plates", 3):
        queue.put(plate)
    queue.close(BridgeError("frame_missing", "the plate's render failed at frame 1004"))
    job = service.start(spec(tmp_path), queue)
    assert len(finished(job)) == 3
    state = job.poll()
    assert state.stage == "failed"
    assert state.message is not None
    assert "1004" in state.message.text


def test_planes_go_up_and_chroma_comes_back_as_npy(service: Service, tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")

    plane = Buffer("y", "u1", (2, 2), b"\1\2\3\4")
    raw = JobSpec("starter", {}, spec(tmp_path).pins, tmp_path / "raw", encoding="raw")
    job = service.start(raw, [PlatePlane(5, plane)])
    assert job.wait(5)
    ((index, path),) = job.poll().finished
    assert index == 5
    assert np.load(path).shape == (2, 2, 2)


def test_no_exemplar_and_missing_weights_are_told_in_words(
    service: Service, bridge: FakeBridge, tmp_path: Path
) -> None:
    bare = JobSpec("starter", {}, (), tmp_path / "bare")
    job = service.start(bare, plates(tmp_path / "plates", 1))
    assert job.wait(5)
    message = job.poll().message
    assert message is not None
    assert message.title == "There is no exemplar yet"
    bridge.error = BridgeError("weights_missing", "colormnet has no weights")
    job = service.start(spec(tmp_path), plates(tmp_path / "plates", 1))
    assert job.wait(5)
    message = job.poll().message
    assert message is not None
    assert "weights fetch" in message.text
    assert bridge.served == 0


def test_a_cache_folder_that_cannot_be_written_ends_the_job_with_a_message(
    service: Service, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    job = service.start(spec(tmp_path), plates(tmp_path / "plates", 1))
    assert job.wait(5)
    message = job.poll().message
    assert message is not None
    assert message.code == "output_not_writable"


def test_nothing_that_a_host_calls_blocks_its_thread(bridge: FakeBridge, tmp_path: Path) -> None:
    slow = threading.Event()

    def connect(**how: object) -> object:
        slow.wait(5)
        return bridge.connect()

    settings = Settings(cache=str(tmp_path / "cache"))
    service = Service(settings, name="t", version="1", connect=connect)  # type: ignore[arg-type]
    began = time.monotonic()
    task = service.panel("starter")
    job = service.start(spec(tmp_path), plates(tmp_path / "plates", 12))
    job.poll()
    assert service.remembered("starter") is None
    job.cancel()
    assert not task.done
    assert time.monotonic() - began < 0.5  # the connection alone waits for 5 s
    slow.set()
    assert task.result(5).effect == "starter"
    assert job.wait(5)
