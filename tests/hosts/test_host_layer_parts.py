"""The host layer's parts: panel rules, pins, plates, cache, settings, words, and the 3.9 floor."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from fake_bridge import DESCRIPTOR, FakeBridge

from host_plugins.host_layer import (
    Panel,
    Pin,
    Pins,
    PlateFile,
    Service,
    Settings,
    expand_pattern,
    explain,
    load_settings,
    run_id,
    save_settings,
)
from host_plugins.host_layer.cache import Chain, ResultCache
from host_plugins.host_layer.messages import ACTIONS, WORDS
from host_plugins.host_layer.progress import Progress, in_words
from host_plugins.host_layer.settings import settings_file
from host_plugins.wire.errors import CODES, BridgeError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def panel() -> Panel:
    return Panel.from_descriptor(DESCRIPTOR)


# --- the panel ---


def test_a_panel_holds_every_parameter_in_its_group(panel: Panel) -> None:
    assert [section.name for section in panel.sections] == ["main", "advanced"]
    assert [section.open for section in panel.sections] == [True, False]
    assert {c.name for c in panel.controls} == {p["name"] for p in DESCRIPTOR["params"]}


def test_values_of_an_old_project_never_make_a_panel_fail(panel: Panel) -> None:
    old = {"saturation": 99, "blend": "yes", "precision": "Full", "working_size": 7.6, "gone": 1}
    values = panel.values(old)
    assert values["saturation"] == 3.0
    assert values["blend"] is True
    assert values["precision"] == "fp32"
    assert values["working_size"] == 64
    assert "gone" not in values


def test_a_control_hangs_on_another_ones_value(panel: Panel) -> None:
    assert panel.states({})["blend_weight"].enabled
    assert not panel.states({"blend": False})["blend_weight"].enabled
    assert not panel.states({})["seed"].visible


def test_an_edit_says_what_to_redraw_and_what_it_spoils(panel: Panel) -> None:
    changed, spoils = panel.instance_changed("blend", {"blend": True}, {"blend": False})
    assert set(changed) == {"blend_weight"}
    assert spoils == "after"
    assert panel.instance_changed("saturation", {}, {"saturation": 2})[1] == "frame"
    assert panel.instance_changed("note", {}, {"note": "x"})[1] == "none"
    assert panel.instance_changed("saturation", {}, {"saturation": 1.0})[1] == "none"


def test_a_parameter_of_an_unknown_kind_is_left_to_the_server() -> None:
    newer = {**DESCRIPTOR, "params": [*DESCRIPTOR["params"], {"name": "curve", "kind": "ramp"}]}
    assert Panel.from_descriptor(newer).control("curve") is None


def test_what_is_no_descriptor_is_refused_as_another_version() -> None:
    with pytest.raises(BridgeError) as caught:
        Panel.from_descriptor({"id": "x"})
    assert caught.value.code == "version"


def test_the_working_size_of_the_settings_is_the_panels_default(tmp_path: Path) -> None:
    settings = Settings(cache=str(tmp_path), working_size=384)
    service = Service(settings, name="t", version="1", connect=FakeBridge().connect)  # type: ignore[arg-type]
    panel = service.panel("starter", start=True).result()
    assert panel.values({})["working_size"] == 384
    assert service.remembered("starter").values({})["working_size"] == 384  # type: ignore[union-attr]


# --- pins ---


def test_pins_keep_the_order_of_frames_and_one_a_frame() -> None:
    pins = Pins([Pin("c.png"), Pin("b.png", 20), Pin("a.png", 10)])
    assert [pin.path for pin in pins] == ["a.png", "b.png", "c.png"]
    assert pins.add(Pin("new.png", 10)) == 0
    assert [pin.path for pin in pins] == ["new.png", "b.png", "c.png"]
    assert pins.move(0, 30) == 1
    assert Pins.from_text(pins.to_text()).to_text() == pins.to_text()


def test_an_unpinned_exemplar_and_one_at_frame_zero_are_two() -> None:
    pins = Pins([Pin("a.png", 0), Pin("a.png")])
    assert [pin.frame for pin in pins] == [0, None]


@pytest.mark.parametrize("text", ["", "no json", "{}", "[1]", '[{"path": 1}]', "[null]"])
def test_a_damaged_list_of_pins_opens_empty(text: str) -> None:
    assert len(Pins.from_text(text)) == 0


def test_a_picture_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match=r"frame 7: gone\.png") as caught:
        Pin(str(tmp_path / "gone.png"), 7).picture()
    assert caught.value.code == "bad_exemplar"


# --- plates ---


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("a.%04d.exr", "a.0007.exr"), ("a.####.exr", "a.0007.exr"), ("a.%d.exr", "a.7.exr"),
     ("a.exr", "a.exr"), ("v2/a.#.exr", "v2/a.7.exr")],
)  # fmt: skip
def test_patterns_name_frames(pattern: str, name: str) -> None:
    assert expand_pattern(pattern, 7).as_posix() == name


def exr(header: dict[bytes, bytes], pixels: bytes) -> bytes:
    """A scan-line EXR in outline: attributes, one offset, pixels."""
    head = b"\x76\x2f\x31\x01\x02\0\0\0"
    for name, value in header.items():
        head += name + b"\0string\0" + struct.pack("<I", len(value)) + value
    head += b"\0"
    return head + struct.pack("<Q", len(head) + 8) + pixels


def png(words: bytes, pixels: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data))

    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"same") + chunk(b"tEXt", words)
        + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )  # fmt: skip


def test_a_plate_rendered_again_has_the_same_digest_and_another_picture_has_not(
    tmp_path: Path,
) -> None:
    def digest(name: str, data: bytes) -> bytes:
        (tmp_path / name).write_bytes(data)
        return PlateFile(1, tmp_path / name).digest()

    first = digest("a.exr", exr({b"channels": b"RGB", b"date": b"today"}, b"pixels"))
    assert digest("b.exr", exr({b"channels": b"RGB", b"date": b"tomorrow!"}, b"pixels")) == first
    assert digest("c.exr", exr({b"channels": b"RGB", b"date": b"today"}, b"others")) != first
    assert digest("d.exr", exr({b"channels": b"BGR", b"date": b"today"}, b"pixels")) != first
    shot = digest("a.png", png(b"Date\0today", b"pixels"))
    assert digest("b.png", png(b"Date\0tomorrow", b"pixels")) == shot
    assert digest("c.png", png(b"Date\0today", b"others")) != shot


@pytest.mark.parametrize("cut", [4, 9, 12, 20, 30])
def test_a_cut_off_picture_still_has_a_digest(tmp_path: Path, cut: int) -> None:
    for data in (exr({b"channels": b"RGB"}, b"pixels"), png(b"a", b"b")):
        name = tmp_path / ("cut.exr" if data[0] == 0x76 else "cut.png")
        name.write_bytes(data[:cut])
        assert len(PlateFile(1, name).digest()) == 32


# --- cache, progress, settings ---


def test_a_frames_key_hangs_on_all_frames_before_it() -> None:
    def keys(*digests: bytes) -> list[str]:
        chain = Chain({"effect": "starter", "values": {"a": 1, "b": 2}})
        return [chain.next(digest=d, index=i, cut=False) for i, d in enumerate(digests)]

    one, other = keys(b"1", b"2", b"3"), keys(b"1", b"x", b"3")
    assert one[0] == other[0]
    assert one[1] != other[1]
    assert one[2] != other[2]
    assert (
        Chain({"values": {"b": 2, "a": 1}, "effect": "starter"}).seed
        == Chain({"effect": "starter", "values": {"a": 1, "b": 2}}).seed
    )


def test_the_cache_drops_the_oldest_beyond_its_size(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path, 250)
    for age, key in enumerate(("aa1", "bb2", "cc3")):
        os.utime(cache.put(key, ".exr", b"x" * 100), (1000 + age, 1000 + age))
    assert cache.trim() == 200
    assert cache.find("aa1", ".exr") is None
    assert cache.find("cc3", ".exr") is not None


def test_progress_counts_speed_without_the_cache() -> None:
    now = [0.0]
    progress = Progress(10, clock=lambda: now[0])
    progress.count(cached=True)
    assert progress.eta_s is None
    progress.start()
    for _ in range(4):
        now[0] += 2.0
        progress.count(cached=False)
    assert progress.fps == 0.5
    assert progress.eta_s == 10.0
    assert [in_words(s) for s in (None, 8, 125, 4200)] == ["", "8 s", "2 min 05 s", "1 h 10 min"]


def test_settings_survive_damage_and_foreign_types(home: Path) -> None:
    assert load_settings() == Settings()
    save_settings(Settings(cache="x", cache_gb=5, working_size=512))
    assert load_settings().working_size == 512
    settings_file().write_text(json.dumps({"cache": 7, "cache_gb": 3, "more": 1, "effect": "e"}))
    assert load_settings() == Settings(cache_gb=3, effect="e")
    settings_file().write_text("not json")
    assert load_settings() == Settings()


def test_a_runs_folder_changes_with_what_it_depends_on(tmp_path: Path) -> None:
    still = tmp_path / "a.png"
    still.write_bytes(b"1")
    first = run_id("starter", {"a": 1}, [Pin(str(still), 1)])
    assert run_id("starter", {"a": 1}, [Pin(str(still), 1)]) == first
    assert run_id("starter", {"a": 2}, [Pin(str(still), 1)]) != first
    assert run_id("starter", {"a": 1}, [Pin(str(still), 2)]) != first
    still.write_bytes(b"22")
    assert run_id("starter", {"a": 1}, [Pin(str(still), 1)]) != first


# --- words ---


def test_every_error_code_has_words_and_every_button_a_label() -> None:
    assert set(WORDS) <= set(CODES)
    for code in CODES:
        message = explain(BridgeError(code, "expected this, got that"))
        assert message.title
        assert message.text
        assert "{}" not in message.text
        assert message.action == "" or message.button == ACTIONS[message.action]
    assert "fault of its own" in explain(ZeroDivisionError("x")).title


# --- the floor ---

PURE = """
import sys
sys.path.insert(0, {plugins!r})
class Nuke:
    def __getattr__(self, name): return Nuke()
    def __call__(self, *a, **k): return Nuke()
sys.modules["nuke"] = Nuke()
import host_plugins.host_layer, host_plugins.nuke_host.buttons, host_plugins.nuke_host.farm
bad = [n for n in ("numpy", "zmq", "torch", "bridge_server", "models", "install")
       if n in sys.modules]
assert not bad, bad
import msgpack
assert msgpack.Packer.__module__.endswith("fallback"), msgpack.Packer.__module__
print("fine")
"""


def test_nukes_side_imports_on_this_python_with_pure_msgpack_alone(tmp_path: Path) -> None:
    import msgpack

    shutil.copytree(ROOT / "host_plugins", tmp_path / "host_plugins")
    (tmp_path / "msgpack").mkdir()
    for name in ("__init__.py", "exceptions.py", "ext.py", "fallback.py"):
        shutil.copy(Path(msgpack.__file__).with_name(name), tmp_path / "msgpack" / name)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PURE.format(plugins=str(tmp_path))],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout == "fine\n", done.stderr
