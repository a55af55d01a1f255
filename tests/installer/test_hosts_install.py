"""Hosts are led to the plugins by a few lines, and led away again without a trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from install import hosts, uninstall
from install.errors import InstallError
from install.machine import Machine
from install.report import Report

ROOT = Path(hosts.__file__).resolve().parent.parent


@pytest.fixture
def msgpack(tmp_path: Path) -> Path:
    folder = tmp_path / "site" / "msgpack"
    folder.mkdir(parents=True)
    for name in ("__init__.py", "exceptions.py", "ext.py", "fallback.py", "_cmsgpack.so"):
        (folder / name).write_text("")
    return folder


def put(machine: Machine, home: Path, msgpack: Path, *names: str) -> list[hosts.Host]:
    return hosts.install(
        ROOT, home, machine, msgpack=msgpack, server_command=["/venv/chromabridge"], names=names
    )


def test_plugins_are_copied_with_the_pure_python_of_msgpack(
    home: Path, msgpack: Path, tmp_path: Path
) -> None:
    put(Machine(home=tmp_path, env={}, find=lambda _: None), home, msgpack)
    folder = hosts.plugin_folder(home)
    assert (folder / "host_plugins" / "client.py").is_file()
    assert (folder / "msgpack" / "fallback.py").is_file()
    assert not list(folder.rglob("*.so"))
    assert not list(folder.rglob("__pycache__"))
    note = hosts.read_note(home)
    assert note["plugin_folder"] == str(folder)
    assert note["server_command"] == ["/venv/chromabridge"]


def test_nukes_own_lines_stay_and_ours_are_there_once(
    home: Path, msgpack: Path, tmp_path: Path
) -> None:
    machine = Machine(system="linux", home=tmp_path, env={}, find=lambda _: None)
    place = tmp_path / ".nuke" / "init.py"
    place.parent.mkdir()
    place.write_text("print('mine')")
    put(machine, home, msgpack)
    found = put(machine, home, msgpack)
    text = place.read_text()
    assert text.startswith("print('mine')\n")
    assert text.count("pluginAppendPath") == 1
    compile(text, "init.py", "exec")
    assert {host.name: host.version for host in found} == {
        "nuke": hosts.version(ROOT),
        "resolve": "",
        "blender": "",
    }
    assert hosts.remove(machine, home) == ["nuke"]
    assert place.read_text() == "print('mine')\n"
    assert not hosts.plugin_folder(home).exists()


def test_an_init_file_that_was_ours_alone_goes_away(
    home: Path, msgpack: Path, tmp_path: Path
) -> None:
    machine = Machine(system="linux", home=tmp_path, env={}, find=lambda _: None)
    put(machine, home, msgpack, "nuke")
    hosts.remove(machine, home)
    assert not (tmp_path / ".nuke" / "init.py").exists()


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("linux", ".local/share/DaVinciResolve/Fusion/Scripts/Utility"),
        (
            "darwin",
            "Library/Application Support/Blackmagic Design/DaVinci Resolve/Fusion/Scripts/Utility",
        ),
        (
            "win32",
            "AppData/Roaming/Blackmagic Design/DaVinci Resolve/Support/Fusion/Scripts/Utility",
        ),
    ],
)
def test_resolves_launcher_knows_the_plugins_on_every_system(
    system: str, expected: str, home: Path, msgpack: Path, tmp_path: Path
) -> None:
    machine = Machine(system=system, home=tmp_path, env={}, find=lambda _: None)
    put(machine, home, msgpack, "resolve")
    launcher = tmp_path / expected / "ChromaBridge.py"
    assert f"PACKAGE_FOLDER = {str(hosts.plugin_folder(home))!r}" in launcher.read_text()
    compile(launcher.read_text(), "launcher", "exec")
    assert [path.name for path in launcher.parent.iterdir()] == ["ChromaBridge.py"]
    assert hosts.remove(machine, home) == ["resolve"]
    assert not launcher.exists()


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("linux", ".config/blender"),
        ("darwin", "Library/Application Support/Blender"),
        ("win32", "AppData/Roaming/Blender Foundation/Blender"),
    ],
)
def test_every_blender_version_gets_the_add_on_and_loses_it_again(
    system: str, expected: str, home: Path, msgpack: Path, tmp_path: Path
) -> None:
    machine = Machine(system=system, home=tmp_path, env={}, find=lambda _: None)
    for version in ("3.4", "4.2", "4.10"):
        (tmp_path / expected / version).mkdir(parents=True)
    found = {host.name: host for host in put(machine, home, msgpack)}
    assert found["blender"].version == hosts.version(ROOT)
    assert found["blender"].place.parts[-4] == "4.10"
    launchers = sorted((tmp_path / expected).rglob("chromabridge.py"))
    assert len(launchers) == 3
    assert f"PACKAGE_FOLDER = {str(hosts.plugin_folder(home))!r}" in launchers[0].read_text()
    assert hosts.remove(machine, home) == ["blender"]
    assert not list((tmp_path / expected).rglob("chromabridge.py"))


def test_a_blender_that_never_ran_is_asked_for_its_version(
    home: Path, msgpack: Path, tmp_path: Path
) -> None:
    machine = Machine(
        system="linux",
        home=tmp_path,
        env={},
        find=lambda name: "/usr/bin/blender" if name == "blender" else None,
        run=lambda _: "Blender 3.4.1\n\tbuild date: 2023\n",
    )
    put(machine, home, msgpack)
    assert (tmp_path / ".config/blender/3.4/scripts/addons/chromabridge.py").is_file()


@pytest.mark.parametrize(
    ("system", "support"),
    [
        ("linux", ".config/blender"),
        ("darwin", "Library/Application Support/Blender"),
        ("win32", "AppData/Roaming/Blender Foundation/Blender"),
    ],
)
def test_every_blender_that_was_started_gets_the_add_on_and_loses_it_again(
    system: str, support: str, home: Path, msgpack: Path, tmp_path: Path
) -> None:
    machine = Machine(system=system, home=tmp_path, env={}, find=lambda _: None)
    for version in ("3.4", "4.10", "4.2"):
        (tmp_path / support / version).mkdir(parents=True)
    (host,) = [one for one in put(machine, home, msgpack) if one.name == "blender"]
    assert host.version == hosts.version(ROOT)
    assert "4.10" in str(host.place)
    found = sorted((tmp_path / support).rglob("chromabridge.py"))
    assert len(found) == 3
    assert str(hosts.plugin_folder(home)) in found[0].read_text()
    assert hosts.remove(machine, home) == ["blender"]
    assert not list((tmp_path / support).rglob("chromabridge.py"))


def test_a_blender_that_was_never_started_is_asked_for_its_version(
    home: Path, msgpack: Path, tmp_path: Path
) -> None:
    machine = Machine(
        system="linux",
        home=tmp_path,
        env={},
        find=lambda name: "/usr/bin/blender" if name == "blender" else None,
        run=lambda _: "Blender 3.4.1\n",
    )
    put(machine, home, msgpack, "blender")
    assert (tmp_path / ".config/blender/3.4/scripts/addons/chromabridge.py").is_file()


def test_an_unknown_host_is_refused(home: Path, msgpack: Path) -> None:
    with pytest.raises(InstallError, match=r"expected of nuke, resolve, blender, got premiere"):
        put(Machine(env={}), home, msgpack, "premiere")


def test_uninstalling_leaves_what_is_the_users_unless_told(
    home: Path, msgpack: Path, tmp_path: Path
) -> None:
    machine = Machine(system="linux", home=tmp_path, env={}, find=lambda _: None)
    put(machine, home, msgpack, "nuke")
    (home / "licenses.jsonl").write_text("{}\n")
    (tmp_path / "repo" / ".venv").mkdir(parents=True)
    report = Report("uninstall", as_json=True)
    uninstall.run(tmp_path / "repo", home, machine, report, everything=False)
    assert not (tmp_path / "repo" / ".venv").exists()
    assert [path.name for path in home.iterdir()] == ["licenses.jsonl"]
    uninstall.run(tmp_path / "repo", home, machine, report, everything=True)
    assert not home.exists()
