"""One sample of every message, with values that show each field's place in the bytes."""

from host_plugins.wire import messages as m
from host_plugins.wire.buffers import Buffer

S, D, N, P = b"s" * 16, b"d" * 32, b"n" * 16, b"p" * 32
LUMA = Buffer("y", "<f2", (2, 3), bytes(range(12)))
CHROMA = Buffer("ab", "<f4", (2, 1, 2), bytes(range(16)))
STILL = Buffer("rgb", "u1", (1, 2, 3), bytes(range(6)))
FILE = Buffer("file", "u1", (5,), b"\x89PNG!", "png")

SAMPLES = [
    m.Hello((1, 0), {"name": "nuke", "version": "16.0"}, N, ("resume",)),
    m.Challenge(N, P),
    m.Prove(P),
    m.Welcome((1, 0), {"name": "chromabridge", "pid": 7}, N, S, ("resume",), ("starter",)),
    m.Attach(S),
    m.Attached(),
    m.Ping(3),
    m.Pong(N, "busy", 120, 3),
    m.Status({"clients": 1}, 4),
    m.Stop(5),
    m.Bye("the server stops"),
    m.Error("gap", "expected frame 3, got 5", "send frame 3", True, 50, S, 5, 6),
    m.Describe("starter", "general", 7),
    m.Described("starter", {"label": "Starter"}, 7),
    m.Open(
        "starter",
        {"saturation": 1.5},
        ({"id": D, "fr": 1001},),
        "filter",
        {"dtype": "<f4"},
        0,
        "shot_010",
        request=8,
    ),
    m.Opened(S, 1, (4, 1 << 28), (D,), 0, 8),
    m.Ready(S, {"saturation": 1.5}, ("attention: sdpa",)),
    m.Exemplar(S, D, (STILL,), 1001, 2),
    m.Exemplar(S, D, (FILE,)),
    m.Frame(S, 2, 1, 1003, (LUMA,), True, 1),
    m.Result(S, 2, 1, 1003, (CHROMA,), {"network": 1500}, ("oom: tile 2",), 2),
    m.Ack(S, 3),
    m.Credit(S, (1, 12)),
    m.Rewind(S, 0, 3, 2, (4, 1 << 28), (D,)),
    m.Resume(S, 3, 9),
    m.Resumed(S, 3, 2, (4, 1 << 28), (), 9),
    m.Cancel(S, 10),
    m.Cancelled(S, 3, 3, (4, 1 << 28), 10),
    m.Flush(S, 11),
    m.Flushed(S, 3, 11),
    m.Event("loading", {"effect": "starter"}, S, 8),
    m.Close(S, 12),
    m.Closed(S, 12),
]
