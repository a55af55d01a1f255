"""Frame arithmetic, editions, connecting and files: what needs no Resolve at all."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import types
from fractions import Fraction
from pathlib import Path

import pytest

import host_plugins.resolve_host as package
from host_plugins.host_layer import Pin
from host_plugins.resolve_host.color_space import ProjectColor
from host_plugins.resolve_host.connect import from_menu, from_outside, script_environment
from host_plugins.resolve_host.edition import Edition
from host_plugins.resolve_host.frames import Range, Rate
from host_plugins.resolve_host.options import Options, load_preset, save_preset
from host_plugins.resolve_host.source_file import sequence_files
from host_plugins.wire.errors import BridgeError


def test_an_item_ends_before_its_end_frame():
    assert Range.of_item(86410, 86422.0) == Range(86410, 86421)
    assert Range.of_item(86410, 86422).count == 12
    assert Range(86410, 86421).relative_to(86400) == Range(10, 21)


@pytest.mark.parametrize(
    ("text", "exact", "nominal"),
    [
        ("23.976", Fraction(24000, 1001), 24),
        ("24", Fraction(24), 24),
        (25.0, Fraction(25), 25),
        ("29.97 DF", Fraction(30000, 1001), 30),
        ("59.94", Fraction(60000, 1001), 60),
        ("12.5", Fraction(25, 2), 12),
    ],
)
def test_rates_are_exact(text, exact, nominal):
    rate = Rate.parse(text)
    assert rate.exact == exact
    assert rate.nominal == nominal


def test_rates_that_are_none_are_refused():
    for text in ("", "fast", "0", "-24", None):
        with pytest.raises(BridgeError, match="frame rate"):
            Rate.parse(text)


def test_timecode_goes_there_and_back():
    for rate in (Rate("24"), Rate("23.976"), Rate("25"), Rate("29.97", drop=True),
                 Rate("59.94", drop=True)):  # fmt: skip
        for frame in (0, 1799, 1800, 17981, 17982, 86400, 107892, 123457):
            assert rate.frame(rate.timecode(frame)) == frame


def test_drop_frame_labels_follow_the_standard():
    rate = Rate("29.97", drop=True)
    assert rate.timecode(1799) == "00:00:59;29"
    assert rate.timecode(1800) == "00:01:00;02"
    assert rate.timecode(17982) == "00:10:00;00"
    assert rate.timecode(107892) == "01:00:00;00"


def test_a_bad_timecode_is_named():
    with pytest.raises(BridgeError, match="01:00:00:00"):
        Rate("24").frame("soon")


@pytest.mark.parametrize(
    ("studio", "version", "supported", "windows", "outside"),
    [
        (True, (18, 1), False, False, False),
        (True, (18, 5), True, True, True),
        (True, (21, 1, 1), True, True, True),
        (False, (19, 0, 3), True, True, False),
        (False, (19, 1), True, False, False),
        (False, (21, 0, 4), True, False, False),
        (False, (21, 1), False, False, False),
    ],
)
def test_each_edition_says_what_it_can(studio, version, supported, windows, outside):
    edition = Edition(studio, version)
    assert (edition.supported, edition.windows, edition.outside) == (supported, windows, outside)
    assert edition.label in edition.sentence
    assert edition.sentence.endswith(".")
    assert edition.sentence.count(". ") == 0  # one sentence


def test_menu_globals_give_resolve_by_each_of_their_ways():
    resolve = object()
    app = types.SimpleNamespace(GetResolve=lambda: resolve)
    bmd = types.SimpleNamespace(scriptapp=lambda name: resolve if name == "Resolve" else None)
    for names in ({"resolve": resolve}, {"app": app}, {"fusion": app}, {"bmd": bmd}):
        assert from_menu(names) is resolve
    assert from_menu({}) is None


@pytest.mark.parametrize(
    ("platform", "api", "library"),
    [
        ("darwin", "/Library/Application Support/Blackmagic Design", "fusionscript.so"),
        ("linux", "resolve/Developer/Scripting", "libs/Fusion/fusionscript.so"),
        ("win32", r"Support\Developer\Scripting", "fusionscript.dll"),
    ],
)
def test_the_environment_of_each_system_is_set(platform, api, library, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    environment = {}
    module = types.SimpleNamespace(scriptapp=lambda name: "resolve")
    found = from_outside(environment=environment, platform=platform, load=lambda name: module)
    assert found == "resolve"
    assert api in environment["RESOLVE_SCRIPT_API"]
    assert environment["RESOLVE_SCRIPT_LIB"].endswith(library)
    assert sys.path[-1].endswith("Modules")


def test_windows_is_told_which_python_to_take_before_the_library_loads(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    environment, seen = {}, []

    def load(name):
        seen.append(environment.get("FUSION_PYTHON3_HOME"))
        return types.SimpleNamespace(scriptapp=lambda name: "resolve")

    from_outside(environment=environment, platform="win32", load=load)
    assert seen == [sys.base_prefix]
    assert "FUSION_PYTHON3_HOME" not in script_environment({}, "linux")


def test_what_the_user_set_is_kept(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    environment = {"RESOLVE_SCRIPT_API": "/elsewhere", "FUSION_PYTHON3_HOME": "mine"}
    module = types.SimpleNamespace(scriptapp=lambda name: "resolve")
    from_outside(environment=environment, platform="linux", load=lambda name: module)
    assert environment["RESOLVE_SCRIPT_API"] == "/elsewhere"
    assert "/elsewhere/Modules" in sys.path


def test_no_library_and_no_resolve_are_told_apart(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))

    def missing(name):
        raise ImportError("no module")

    with pytest.raises(BridgeError, match="cannot be loaded"):
        from_outside(environment={}, platform="linux", load=missing)
    module = types.SimpleNamespace(scriptapp=lambda name: None)
    with pytest.raises(BridgeError, match="does not let scripts in") as caught:
        from_outside(environment={}, platform="linux", load=lambda name: module)
    for word in ("Start Resolve", "External scripting", "free edition"):
        assert word in caught.value.hint


def test_sequences_are_read_as_resolve_writes_them():
    files = sequence_files("/a/shot.[0099-0101].exr")
    assert [file.name for file in files] == ["shot.0099.exr", "shot.0100.exr", "shot.0101.exr"]
    assert sequence_files("/a/shot.mov") is None


def test_encoded_renders_are_tiff_and_linear_ones_half_float():
    assert ProjectColor("davinciYRGB", "Rec.709 Gamma 2.4", "").plate_kind == "tif"
    assert ProjectColor("acescct", "ACEScct", "").server_space(".tif") == "ACEScct"
    linear = ProjectColor("davinciYRGBColorManagedv2", "Rec.709", "Linear")
    assert linear.plate_kind == "exr"
    assert linear.server_space(".exr") == ""
    # half floats are not linear just because they are floats
    assert ProjectColor("", "Rec.709 Gamma 2.4", "").server_space(".exr") == "display"


def test_a_graded_plate_is_not_graded_again():
    for place in ("take", "loader"):
        with pytest.raises(BridgeError, match="graded twice"):
            Options(place=place).check()
        Options(place=place, plate="ungraded").check()


def test_presets_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("CHROMABRIDGE_HOME", str(tmp_path))
    options = Options(effect="starter", values={"saturation": 1.2}, clips="color:Teal",
                      exemplars=(Pin("/a.png", 5),))  # fmt: skip
    save_preset(options, "night")
    assert load_preset("night") == options
    assert load_preset() == Options()
    with pytest.raises(BridgeError, match="no preset"):
        load_preset("day")
    with pytest.raises(BridgeError, match="plain preset name"):
        load_preset("../day")


def test_a_damaged_preset_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CHROMABRIDGE_HOME", str(tmp_path))
    save_preset(Options()).write_text("{")
    with pytest.raises(BridgeError, match="cannot be read"):
        load_preset()


def test_every_module_is_imported_with_the_standard_library_alone():
    names = [m.name for m in pkgutil.iter_modules(package.__path__)]
    assert len(names) > 20
    for name in names:
        importlib.import_module(f"host_plugins.resolve_host.{name}")
    code = (
        "import sys\n"
        f"for name in {names!r}: __import__('host_plugins.resolve_host.' + name)\n"
        "bad = {'numpy', 'zmq', 'torch', 'av', 'OpenImageIO', 'bridge_server', 'models', 'typer'}\n"
        "sys.exit(', '.join(sorted(bad & set(sys.modules))) or 0)\n"
    )
    root = Path(package.__path__[0]).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_scripts_folder_gets_one_file_that_finds_the_package(tmp_path):
    folder = Path(package.__path__[0]) / "launcher"
    files = [path.name for path in folder.iterdir() if path.suffix == ".py"]
    assert files == ["ChromaBridge.py"]
    root = folder.parent.parent.parent
    (tmp_path / "install.json").write_text(f'{{"plugin_folder": "{root.as_posix()}"}}')
    done = subprocess.run(
        [sys.executable, str(folder / files[0])],
        cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"CHROMABRIDGE_HOME": str(tmp_path), "PYTHONPATH": site_of("msgpack")},
    )  # fmt: skip
    assert "scripting module cannot be loaded" in done.stdout


def test_a_launcher_without_a_package_says_how_to_install_it(tmp_path):
    launcher = Path(package.__path__[0]) / "launcher" / "ChromaBridge.py"
    done = subprocess.run(
        [sys.executable, str(launcher)], capture_output=True, text=True, check=True,
        env={"CHROMABRIDGE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert "is not installed" in done.stdout


def site_of(name):
    """The folder of a distribution: inside Resolve the installer puts it beside the package."""
    return str(Path(importlib.import_module(name).__file__).parent.parent)


def test_render_presets_are_shipped_for_both_formats():
    from xml.etree import ElementTree

    from host_plugins.resolve_host.labels import PRESETS

    for kind, name in PRESETS.items():
        root = ElementTree.parse(Path(package.__path__[0]) / "presets" / f"{name}.xml").getroot()
        assert root.findtext("RecordFormatType") == kind
        assert root.findtext("RecordAudioEnabled") == "false"
