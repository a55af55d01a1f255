"""Settings: default, file, environment, flags; a bad one is named with its place."""

from __future__ import annotations

import pytest

from bridge_server import settings
from host_plugins import places
from host_plugins.wire.errors import BridgeError


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("PORT", "HOST", "MAX_SESSIONS", "LOG_LEVEL"):
        monkeypatch.delenv(f"CHROMABRIDGE_{name}", raising=False)


def test_each_place_outranks_the_one_before(tmp_path, monkeypatch):
    assert settings.load({}, home=tmp_path).max_sessions == 32
    (tmp_path / "server.toml").write_text("max_sessions = 5\nport = 7000\nidle_s = 60\n")
    told = settings.load({}, home=tmp_path)
    assert (told.max_sessions, told.port, told.idle_s) == (5, 7000, 60.0)
    monkeypatch.setenv("CHROMABRIDGE_MAX_SESSIONS", "6")
    assert settings.load({}, home=tmp_path).max_sessions == 6
    assert settings.load({"max_sessions": 7, "port": None}, home=tmp_path).max_sessions == 7
    assert settings.load({"port": None}, home=tmp_path).port == 7000


@pytest.mark.parametrize(
    ("text", "named"),
    [("speed = 3", "speed"), ("port = 'many'", "port"), ("port = [", "server.toml")],
)
def test_a_bad_file_is_named(tmp_path, text, named):
    (tmp_path / "server.toml").write_text(text)
    with pytest.raises(BridgeError) as caught:
        settings.load({}, home=tmp_path)
    assert caught.value.code == "bad_param"
    assert named in caught.value.message


def test_places_follow_each_system_and_one_variable_moves_them_all():
    assert str(places.home({"XDG_DATA_HOME": "/x"}, "linux")) == "/x/chromabridge"
    assert str(places.runtime({"XDG_RUNTIME_DIR": "/r"}, "linux")) == "/r/chromabridge"
    assert places.home({}, "darwin").parts[-2:] == ("Application Support", "ChromaBridge")
    assert places.home({"LOCALAPPDATA": "C:/L"}, "win32").name == "ChromaBridge"
    moved = {"CHROMABRIDGE_HOME": "/h", "XDG_RUNTIME_DIR": "/r"}
    for platform in ("linux", "darwin", "win32"):
        assert str(places.home(moved, platform)) == "/h"
        assert str(places.runtime(moved, platform)) == "/h/run"
