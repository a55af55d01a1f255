"""What a client may rely on: order, credit, exact results, errors with codes."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest
import torch

from host_plugins.client import BridgeError, Buffer, ClipFrame, ExemplarPicture, plane
from host_plugins.link import DATA
from host_plugins.wire import messages as m


def code_of(call, *args, **options) -> str:
    with pytest.raises(BridgeError) as caught:
        call(*args, **options)
    error = caught.value
    assert "expected" in error.message or "got" in error.message, error.message
    assert error.hint
    return error.code


@pytest.mark.parametrize("transport", ["zmq", "zmtp"])
def test_results_come_in_order_and_equal_a_direct_computation(server, still, clip, transport):
    from bridge_server.picture import fit_exemplar, upscale_chroma, working_luma
    from models.lookup import LookupPropagator
    from models.propagator import Exemplar

    rgb = np.frombuffer(still.buffer.data, np.uint8).reshape(still.buffer.shape)
    luma, chroma, valid = fit_exemplar(torch.from_numpy(rgb.astype(np.float32) / 255), 36, 64)
    propagator = LookupPropagator()
    propagator.begin([Exemplar(luma, chroma, valid=valid)])
    with (
        server.client(transport=transport) as connected,
        connected.open("lookup", {"working_size": 64}, [still], want={"dtype": "<f4"}) as session,
    ):
        results = list(session.stream(clip(k) for k in range(9)))
    assert [result.index for result in results] == list(range(1001, 1010))
    for k, result in enumerate(results):
        gray = torch.from_numpy(
            np.frombuffer(clip(k).buffers[0].data, np.float16).reshape(90, 160).astype(np.float32)
        )[None, None]
        small, small_gray = working_luma(gray, 36, 64)
        step = propagator.step(small, index=1001 + k)
        expected = upscale_chroma(step.chroma, gray, 1.0, gray_small=small_gray)[0]
        got = np.frombuffer(result.buffers[0].data, np.float32).reshape(2, 90, 160)
        np.testing.assert_allclose(got, expected.numpy(), atol=1e-4)


def test_two_interleaved_sessions_equal_the_two_run_alone(server, still, clip, bytes_of):
    other = ExemplarPicture(plane("rgb", np.full((20, 20, 3), [200, 40, 90], np.uint8)))
    with server.client() as connected:

        def alone(picture, base):
            with connected.open("lookup", {}, [picture]) as session:
                return bytes_of(session.stream(clip(base + k) for k in range(6)))

        expected = alone(still, 0), alone(other, 50)
        with (
            connected.open("lookup", {}, [still]) as one,
            connected.open("lookup", {}, [other]) as two,
        ):
            streams = (
                one.stream(clip(k) for k in range(6)),
                two.stream(clip(50 + k) for k in range(6)),
            )
            pairs = list(zip(*streams, strict=True))
    assert bytes_of(pair[0] for pair in pairs) == expected[0]
    assert bytes_of(pair[1] for pair in pairs) == expected[1]


def test_eight_clients_at_once_all_get_their_own_colors(server, clip, bytes_of):
    got: dict[int, list[bytes]] = {}

    def work(number: int) -> None:
        tone = np.full((8, 8, 3), [10 + 30 * number, 120, 200 - 20 * number], np.uint8)
        with (
            server.client(name=f"client {number}") as connected,
            connected.open("lookup", {}, [ExemplarPicture(plane("rgb", tone))]) as session,
        ):
            got[number] = bytes_of(session.stream(clip(k, (18, 32)) for k in range(4)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(got) == list(range(8))
    assert len({tuple(frames) for frames in got.values()}) == 8
    assert all(len(frames) == 4 for frames in got.values())


def test_an_empty_stream_ends_at_once(server, still):
    with server.client() as connected, connected.open("lookup", {}, [still]) as session:
        assert list(session.stream([])) == []
        assert session.flush() == 0


def test_an_exemplar_added_later_colors_only_later_frames(server, still, clip, bytes_of):
    tone = ExemplarPicture(plane("rgb", np.full((9, 9, 3), [200, 20, 20], np.uint8)), 1001)
    replacing = ExemplarPicture(plane("rgb", np.full((9, 9, 3), [20, 20, 200], np.uint8)), 1001)
    with server.client() as connected:
        with connected.open("lookup", {}, [tone]) as session:
            before = bytes_of(session.stream([clip(0)]))
            session.add_exemplar(replacing)
            after = bytes_of(session.stream([clip(0)]))
        with connected.open("lookup", {}, [replacing]) as session:
            alone = bytes_of(session.stream([clip(0)]))
    assert before != after == alone


def test_confidence_comes_when_it_is_asked_for(server, still, clip):
    with (
        server.client() as connected,
        connected.open("lookup", {}, [still], want={"confidence": True}) as session,
    ):
        result = next(iter(session.stream([clip(0)])))
    assert [buffer.name for buffer in result.buffers] == ["ab", "confidence"]


def test_a_session_says_what_it_runs_with(server, still):
    with (
        server.client() as connected,
        connected.open("lookup", {"saturation": 0.5}, [still]) as session,
    ):
        assert session.effective["saturation"] == 0.5
        assert session.effective["edge_strength"] == 1.0
        assert session.effective["made_by"]["network"] == "lookup"


def test_saturation_scales_the_chroma(server, still, clip):
    def color(saturation: float) -> np.ndarray:
        with (
            server.client() as connected,
            connected.open(
                "lookup", {"saturation": saturation}, [still], want={"dtype": "<f4"}
            ) as session,
        ):
            result = next(iter(session.stream([clip(0)])))
        return np.frombuffer(result.buffers[0].data, np.float32)

    np.testing.assert_allclose(color(2.0), 2 * color(1.0), rtol=1e-5, atol=1e-5)


# --- bad input ---


def test_what_cannot_be_opened_is_refused_with_a_code(server, still):
    gray = ExemplarPicture(Buffer("file", "u1", (4,), b"\x89PNG", "png"))
    with server.client() as connected:
        assert code_of(connected.open, "sepia", {}, [still]) == "unknown_effect"
        assert code_of(connected.describe, "sepia") == "unknown_effect"
        assert code_of(connected.open, "lookup", {"glow": 1}, [still]) == "unknown_param"
        for value in (9.0, -1, "much", True, None, [1]):
            assert code_of(connected.open, "lookup", {"saturation": value}, [still]) == "bad_param"
        assert code_of(connected.open, "lookup", {}, []) == "exemplar_missing"
        assert code_of(connected.open, "lookup", {}, [still], want={"dtype": "u1"}) == "bad_header"
        assert code_of(connected.open, "lookup", {}, [still], priority="now") == "bad_param"
        with pytest.raises(BridgeError) as caught:
            connected.open("lookup", {}, [gray])
        assert caught.value.code in ("clip_unreadable", "bad_exemplar")
        assert connected.ping() in ("idle", "busy")


def test_a_frame_of_another_size_is_refused_and_others_go_on(server, still, clip):
    with server.client() as connected, connected.open("lookup", {}, [still]) as other:
        with connected.open("lookup", {}, [still]) as session:
            frames = [clip(0), clip(1, (18, 32))]
            assert code_of(list, session.stream(frames)) == "bad_frame"
        assert len(list(other.stream(clip(k) for k in range(2)))) == 2


def test_frames_out_of_order_and_without_credit_are_refused(server, still, clip):
    with server.client() as connected, connected.open("lookup", {}, [still]) as session:

        def send(q: int) -> None:
            frame = m.Frame(session._id, q, session._epoch, 1, clip(0).buffers)
            session._connection.send(DATA, frame)

        def error() -> m.Error:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                item = session._inbox.get(timeout=10)
                if isinstance(item, m.Error):
                    return item
            raise AssertionError("no error came")

        send(5)
        gap = error()
        assert (gap.code, gap.retry) == ("gap", True)
        assert "expected frame 0" in gap.message
        for q in range(session.max_in_flight + 1):
            send(q)
        assert error().code == "no_credit"


def test_an_unknown_session_is_named(server, still, clip):
    with server.client() as connected, connected.open("lookup", {}, [still]) as session:
        list(session.stream([clip(0)]))
        number = session._connection.number()
        closing = m.Close(b"x" * 16, number)
        assert code_of(session._connection.request, closing) == "unknown_session"


# --- control ---


def test_ping_and_status_are_answered_while_the_worker_is_busy(server, still, clip):
    waits = []
    with (
        server.client() as connected,
        connected.open("lookup", {"working_size": 2048}, [still]) as session,
    ):
        for _ in session.stream(clip(k, (1080, 1920)) for k in range(4)):
            started = time.monotonic()
            connected.ping()
            waits.append(time.monotonic() - started)
            told = connected.status()
            assert told["sessions"][0]["effect"] == "lookup"
    assert min(waits) < 0.5


def test_cancel_ends_the_stream_early_and_keeps_what_is_finished(server, still, clip):
    with server.client() as connected, connected.open("lookup", {}, [still]) as session:
        got = []
        for result in session.stream(clip(k % 50) for k in itertools.count()):
            got.append(result.index)
            if len(got) == 5:
                session.cancel()
        assert session.cancelled
        assert got == list(range(1001, 1001 + len(got)))
        assert 5 <= len(got) <= 5 + session.max_in_flight
        assert connected.ping() in ("idle", "busy")


def test_a_cut_is_passed_to_the_effect(server, still, clip):
    frames = [clip(0), ClipFrame(1002, clip(1).buffers, cut=True)]
    with server.client() as connected, connected.open("lookup", {}, [still]) as session:
        assert [result.index for result in session.stream(frames)] == [1001, 1002]


def test_a_description_has_all_that_a_panel_needs(server):
    with server.client() as connected:
        for effect in connected.effects:
            told = connected.describe(effect, context="general")
            assert [clip["name"] for clip in told["clips"]] == ["Source", "Exemplar", "Output"]
            groups = {group["name"] for group in told["groups"]}
            for param in told["params"]:
                assert param["group"] in groups
                assert param["hint"]
                assert param["label"]
                if param["kind"] == "choice":
                    assert param["default"] in param["choices"]
                if param["kind"] in ("int", "double"):
                    assert param["low"] <= param["default"] <= param["high"]


def test_an_encoded_frame_comes_back_as_a_file_that_says_what_colored_it(server, still, tmp_path):
    import OpenImageIO as oiio

    from host_plugins.client import file_buffer

    gray = np.linspace(-0.05, 1.5, 18 * 32, dtype=np.float32).reshape(18, 32, 1).repeat(3, 2)
    out = oiio.ImageOutput.create("x.exr")
    assert out.open(str(tmp_path / "plate.exr"), oiio.ImageSpec(32, 18, 3, "float"))
    assert out.write_image(gray)
    out.close()
    frame = ClipFrame(7, (file_buffer(tmp_path / "plate.exr"),))
    with (
        server.client() as connected,
        connected.open("lookup", {}, [still], want={"encoding": "exr"}) as session,
    ):
        (result,) = session.stream([frame])
    assert (result.index, result.buffers[0].name, result.buffers[0].encoding) == (7, "file", "exr")
    (tmp_path / "color.exr").write_bytes(result.buffers[0].data)
    picture = oiio.ImageBuf(str(tmp_path / "color.exr"))
    assert picture.spec().getattribute("chromabridge:network") == "lookup"
    assert picture.spec().getattribute("chromabridge:license") == "Apache-2.0"
    weights = np.array([0.2126, 0.7152, 0.0722])
    colored = picture.get_pixels(oiio.FLOAT)
    np.testing.assert_allclose(colored @ weights, gray @ weights, rtol=1e-5, atol=1e-6)
    assert np.abs(colored - gray).max() > 0.01
