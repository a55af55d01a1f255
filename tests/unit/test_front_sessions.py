"""A session's bookkeeping under any client: order, credit and memory hold, whatever comes."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bridge_server.front.exemplars import ExemplarStore
from bridge_server.front.session_table import SessionTable
from bridge_server.front.sessions import CREDIT_BYTES, SessionRecord
from bridge_server.settings import Settings
from host_plugins.wire import messages as m
from host_plugins.wire.buffers import Buffer, content_digest
from host_plugins.wire.errors import BridgeError
from host_plugins.wire.framing import decode, encode

LUMA = Buffer("y", "u1", (2, 3), bytes(6))


def record(priority: int = 2) -> SessionRecord:
    return SessionRecord(None, "lookup", {}, {}, {}, priority, "", "anna")


def frame(session: SessionRecord, q: int, *, epoch: int | None = None, buffer: Buffer = LUMA):
    return m.Frame(session.id, q, session.epoch if epoch is None else epoch, q, (buffer,))


def code_of(call, *args) -> str:
    with pytest.raises(BridgeError) as caught:
        call(*args)
    return caught.value.code


def compute(session: SessionRecord) -> bool:
    """What the worker does: take the next frame, answer it."""
    if not session.queue:
        return False
    item = session.queue.popleft()
    assert isinstance(item.message, m.Frame)
    session.running[item.message.q] = item
    result = m.Result(session.id, item.message.q, session.epoch, item.message.index)
    return session.finish(result, [b"result %d" % item.message.q])


def test_a_frame_ahead_is_a_gap_and_one_behind_is_repeated_until_acknowledged():
    session = record()
    assert code_of(session.accept, frame(session, 1), []) == "gap"
    assert session.accept(frame(session, 0), []) is None
    assert session.accept(frame(session, 0), []) is None  # it is on its way: nothing to repeat
    assert compute(session)
    assert session.accept(frame(session, 0), []) == [b"result 0"]
    assert session.acknowledge(1) == (1, 6)
    assert code_of(session.accept, frame(session, 0), []) == "gone"


def test_credit_is_checked_and_the_third_fault_is_final():
    session = record()
    for q in range(session.credit_frames):
        session.accept(frame(session, q), [])
    errors = []
    for _ in range(3):
        with pytest.raises(BridgeError) as caught:
            session.accept(frame(session, session.next_q), [])
        errors.append((caught.value.code, caught.value.retry))
    assert errors == [("no_credit", True), ("no_credit", True), ("no_credit", False)]


def test_one_frame_may_always_be_on_its_way_whatever_its_size():
    session = record()
    huge = Buffer("y", "<f4", (16384, 16384), b"")
    session.accept(frame(session, 0, buffer=huge), [])
    assert code_of(session.accept, frame(session, 1, buffer=huge), []) == "no_credit"


def test_a_frame_of_an_epoch_that_is_over_is_dropped_in_silence():
    session = record()
    session.accept(frame(session, 0), [])
    session.restart(0)
    assert session.accept(frame(session, 1, epoch=0), []) is None
    assert not session.queue
    assert session.accept(frame(session, 0), []) is None
    assert len(session.queue) == 1


def test_another_type_or_size_than_the_first_is_refused():
    session = record()
    session.accept(frame(session, 0), [])
    other = Buffer("y", "<f2", (2, 3), bytes(12))
    assert code_of(session.accept, frame(session, 1, buffer=other), []) == "bad_frame"
    color = Buffer("rgb", "u1", (1, 1, 3), bytes(3))
    assert code_of(session.accept, frame(session, 1, buffer=color), []) == "bad_frame"


def test_a_rewind_keeps_results_that_were_not_acknowledged_and_their_cost():
    session = record()
    for q in range(4):
        session.accept(frame(session, q), [])
    for q in range(3):
        item = session.queue.popleft()
        session.running[q] = item
        answer = m.Result(session.id, q, session.epoch, q)
        assert session.finish(answer, encode(answer))
    assert session.acknowledge(1) == (1, 6)
    assert session.first_missing == 3
    session.rewind(session.first_missing, 7)
    assert (session.next_q, session.epoch) == (3, 7)
    assert {decode(parts).epoch for parts in session.results.values()} == {7}
    assert sorted(session.results) == sorted(session.costs) == [1, 2]
    assert session.credit_left == (session.credit_frames - 2, CREDIT_BYTES - 12)
    session.rewind(2, 8)  # the state is older: what lies above it is made again
    assert sorted(session.results) == sorted(session.costs) == [1]


def test_exemplars_ahead_of_the_frames_are_bounded_and_count_no_more_once_they_were_seen():
    session = record()
    picture = Buffer("rgb", "u1", (2048, 8192, 3), b"")
    late = m.Exemplar(session.id, b"d" * 32, (picture,), 5, 0)
    fits = CREDIT_BYTES // picture.nbytes
    for _ in range(fits):
        session.accept_exemplar(late)
    assert code_of(session.accept_exemplar, late) == "no_credit"
    session.accept(frame(session, 0), [])
    assert compute(session)
    session.acknowledge(1)
    session.accept_exemplar(late)


def test_a_state_saved_ahead_of_a_lost_result_is_not_used():
    sent: list[m.Message] = []

    class Worker:
        up = True

        def send(self, channel: str, message: m.Message) -> None:
            sent.append(message)

        def took_back(self, session: bytes, q: int | None = None) -> None:
            pass

    table = SessionTable(None, Worker(), Settings())
    session = record()
    table._sessions[session.id] = session
    session.on_worker, session.next_q, session.acked = True, 6, 5
    table.from_worker(m.Opened(session.id, 0, (0, 0), (), 6), [])  # the result of 5 is nowhere
    assert [message.kind for message in sent] == ["close", "open"]
    asked = sent[1].want
    assert asked.get("fresh") or asked.get("upto") == 5
    assert session.next_q == 5
    sent.clear()
    table.from_worker(m.Opened(session.id, session.epoch, (0, 0), (), 0), [])
    assert sent == []
    assert session.next_q == 0


def test_what_fails_while_a_session_opens_answers_the_request_that_opens_it(monkeypatch):
    told: list[m.Message] = []
    table = SessionTable(None, None, Settings())
    session = record()
    session.opening = 7
    table._sessions[session.id] = session
    monkeypatch.setattr(table, "_tell", lambda _, message: told.append(message))
    monkeypatch.setattr(table, "_end", lambda *_, **__: None)
    table.from_worker(m.Error("accelerator_required", "sage", session=session.id), [])
    assert [message.request for message in told] == [7]


class AnyClient(RuleBasedStateMachine):
    """Sends what it likes, whenever it likes; the worker computes now and then."""

    @initialize(priority=st.sampled_from([0, 1, 2]))
    def begin(self, priority: int) -> None:
        self.session = record(priority)
        self.given_back = 0

    @rule(offset=st.integers(-3, 3), stale=st.booleans())
    def send(self, offset: int, stale: bool) -> None:
        epoch = self.session.epoch - 1 if stale and self.session.epoch else self.session.epoch
        q = max(0, self.session.next_q + offset)
        code = ""
        try:
            self.session.accept(frame(self.session, q, epoch=epoch), [b"x"])
        except BridgeError as error:
            code = error.code
        assert code in ("", "gap", "gone", "no_credit")

    @rule()
    def work(self) -> None:
        compute(self.session)

    @rule(below=st.integers(0, 40))
    def acknowledge(self, below: int) -> None:
        frames, size = self.session.acknowledge(below)
        assert frames >= 0
        assert size == 6 * frames

    @rule(back=st.integers(0, 5))
    def cancel(self, back: int) -> None:
        self.session.restart(max(0, self.session.next_q - back))

    @invariant()
    def what_it_pins_is_bounded_by_its_credit(self) -> None:
        if not hasattr(self, "session"):
            return
        session = self.session
        pinned = len(session.queue) + len(session.running) + len(session.results)
        assert pinned == len(session.costs) <= session.credit_frames
        assert sum(session.costs.values()) <= CREDIT_BYTES

    @invariant()
    def frames_are_in_one_place_each_and_below_the_next(self) -> None:
        if not hasattr(self, "session"):
            return
        waiting = [w.message.q for w in self.session.queue if isinstance(w.message, m.Frame)]
        assert waiting == sorted(waiting)
        places = [*waiting, *self.session.running, *self.session.results]
        assert len(places) == len(set(places))
        assert all(q < self.session.next_q for q in places)


TestAnyClient = AnyClient.TestCase
TestAnyClient.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def exemplar(pixels: bytes) -> m.Exemplar:
    buffer = Buffer("rgb", "u1", (1, len(pixels) // 3, 3), pixels)
    return m.Exemplar(b"s" * 16, content_digest(buffer), (buffer,))


def test_exemplars_are_kept_by_content_up_to_a_number_of_bytes():
    store = ExemplarStore(largest=20)
    one, two, three = (exemplar(bytes([k]) * 9) for k in range(3))
    store.put(one)
    store.put(two)
    assert store.get(one.digest) == one  # used last: the other one goes
    store.put(three)
    assert two.digest not in store
    assert one.digest in store
    assert code_of(store.get, two.digest) == "exemplar_missing"


def test_an_exemplar_under_another_name_is_refused():
    store = ExemplarStore()
    true = exemplar(bytes(9))
    assert code_of(store.put, m.Exemplar(true.session, b"d" * 32, true.buffers)) == "bad_exemplar"
    luma = Buffer("y", "u1", (1, 1), b"x")
    assert code_of(store.put, m.Exemplar(true.session, true.digest, (luma,))) == "bad_exemplar"
