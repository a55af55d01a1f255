"""Weights come whole, with the right hash and under accepted terms, or not at all."""

from __future__ import annotations

import errno
import json
import socket
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from weights_server import NON_COMMERCIAL, Behavior, copy_tensors, digest, entry_for

from install import download, licenses, weights
from install.errors import InstallError
from install.manifest import Entry

Server = tuple[str, Behavior]


def fetch(entry: Entry, home: Path, **more: Any) -> weights.Installed:
    return weights.fetch(entry, home, convert=copy_tensors, policies=(), pause_s=0.0, **more)


def nothing_but_partial(home: Path) -> bool:
    names = {path.name for path in (home / "weights").iterdir()}
    return names <= {".lock", ".partial"}


def test_a_good_download_is_converted_recorded_and_pinned(server: Server, home: Path) -> None:
    url, does = server
    seen: list[tuple[int, Any]] = []
    entry = entry_for((f"{url}/net.pth",))
    installed = fetch(entry, home, progress=lambda done, total: seen.append((done, total)))
    assert installed.pinned
    assert installed.sha256 == digest(does.data)
    assert seen[-1] == (len(does.data), len(does.data))
    assert (installed.folder / "net.safetensors").read_bytes() == b"converted:" + does.data
    assert "MIT" in (installed.folder / "NOTICE.txt").read_text()
    assert weights.verify(entry, home, home) == digest(does.data)
    assert not list((home / "weights" / ".partial").iterdir())


def test_a_download_cut_off_goes_on_where_it_stopped(server: Server, home: Path) -> None:
    url, does = server
    does.cut_after = [30_000, 20_000]
    installed = fetch(entry_for((f"{url}/net.pth",)), home)
    assert installed.sha256 == digest(does.data)
    assert does.asked == ["", "bytes=30000-", "bytes=50000-"]


def test_an_interrupted_run_is_resumed_by_the_next_one(server: Server, home: Path) -> None:
    url, does = server
    does.cut_after = [40_000] * 1 + [0] * 3
    with pytest.raises(InstallError) as failed:
        fetch(entry_for((f"{url}/net.pth",)), home)
    assert failed.value.code == "download_failed"
    assert nothing_but_partial(home)
    does.cut_after, does.asked = [], []
    assert fetch(entry_for((f"{url}/net.pth",)), home).sha256 == digest(does.data)
    assert does.asked == ["bytes=40000-"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, home: Path) -> None:
    url, does = server
    does.cut_after = [40_000] + [0] * 3
    with pytest.raises(InstallError):
        fetch(entry_for((f"{url}/net.pth",)), home)
    does.cut_after, does.etag, does.data = [], '"two"', b"other bytes" * 5000
    assert fetch(entry_for((f"{url}/net.pth",)), home).sha256 == digest(does.data)


@pytest.mark.parametrize("how", ["ranges ignored", "416", "no validator"])
def test_a_server_that_cannot_resume_costs_only_time(server: Server, home: Path, how: str) -> None:
    url, does = server
    does.cut_after = [30_000]
    does.ranges = how != "ranges ignored"
    does.range_error = how == "416"
    does.etag = "" if how == "no validator" else does.etag
    assert fetch(entry_for((f"{url}/net.pth",)), home).sha256 == digest(does.data)


def test_a_server_that_resumes_elsewhere_is_not_believed(server: Server, home: Path) -> None:
    url, does = server
    does.cut_after, does.lie_about_start = [30_000], True
    with pytest.raises(InstallError) as failed:
        fetch(entry_for((f"{url}/net.pth",)), home)
    assert "asked for bytes from 30000" in failed.value.message
    assert nothing_but_partial(home)


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(server: Server, home: Path) -> None:
    url, does = server
    does.statuses = [503, 429]
    assert fetch(entry_for((f"{url}/net.pth",)), home).sha256 == digest(does.data)
    assert len(does.asked) == 3
    does.statuses, does.asked = [404], []
    with pytest.raises(InstallError) as failed:
        fetch(entry_for((f"{url}/net.pth",)), home)
    assert "HTTP 404" in failed.value.message
    assert len(does.asked) == 1


def test_a_redirect_is_followed(server: Server, home: Path) -> None:
    url, does = server
    does.redirect = f"{url}/moved"
    assert fetch(entry_for((f"{url}/net.pth",)), home).sha256 == digest(does.data)


def test_a_redirect_from_https_to_http_is_refused() -> None:
    import urllib.error
    import urllib.request

    request = urllib.request.Request("https://example.org/a")
    with pytest.raises(urllib.error.URLError, match="from https to http"):
        download._NoDowngrade().redirect_request(request, None, 302, "", {}, "http://example.org/a")


def test_another_hash_than_the_listed_one_installs_nothing(server: Server, home: Path) -> None:
    url, _ = server
    entry = entry_for((f"{url}/net.pth",), sha256="0" * 64)
    with pytest.raises(InstallError) as failed:
        fetch(entry, home)
    assert failed.value.code == "hash_mismatch"
    assert nothing_but_partial(home)
    assert not (home / "weights" / ".partial" / "net.pth").exists()


def test_a_changed_file_is_refused_after_the_pin_and_the_old_one_stays(
    server: Server, home: Path
) -> None:
    url, does = server
    entry = entry_for((f"{url}/net.pth",))
    first = fetch(entry, home).sha256
    does.data, does.etag = b"replaced" * 1000, '"two"'
    with pytest.raises(InstallError) as failed:
        fetch(entry, home)
    assert failed.value.code == "hash_mismatch"
    assert "--forget-pin" in failed.value.hint
    assert weights.verify(entry, home, home) == first
    weights.remove(entry, home)
    with pytest.raises(InstallError):
        fetch(entry, home)
    weights.remove(entry, home, and_pin=True)
    assert fetch(entry, home).sha256 == digest(does.data)


def test_the_wrong_size_is_noticed_before_the_download(server: Server, home: Path) -> None:
    url, does = server
    with pytest.raises(InstallError) as failed:
        fetch(entry_for((f"{url}/net.pth",), bytes=7), home)
    assert f"expected 7 bytes, got {len(does.data)}" in failed.value.message


def test_mirrors_are_asked_first_and_the_hash_decides(server: Server, home: Path) -> None:
    url, does = server
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
    entry = entry_for((f"{dead}/net.pth",), sha256=digest(does.data))
    installed = fetch(entry, home, mirrors=(f"{dead}/x/", f"{url}/mirror"))
    closed.close()
    assert json.loads((installed.folder / "record.json").read_text())["source"] == (
        f"{url}/mirror/net.pth"
    )


def test_no_network_names_the_address_and_the_way_round(home: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/net.pth"
        with pytest.raises(InstallError) as failed:
            fetch(entry_for((url,)), home)
    assert failed.value.code == "offline"
    assert url in failed.value.hint
    assert "weights import" in failed.value.hint


def test_too_little_disk_is_said_before_the_download(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = server
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(InstallError) as failed:
        fetch(entry_for((f"{url}/net.pth",)), home)
    assert failed.value.code == "disk_full"


def test_a_disk_that_fills_up_keeps_what_has_come(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, does = server
    real = download._copy

    def full(*args: Any) -> int:
        does.cut_after = []
        part = args[1]
        part.write_bytes(does.data[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_copy", full)
    with pytest.raises(InstallError) as failed:
        fetch(entry_for((f"{url}/net.pth",)), home)
    assert failed.value.code == "disk_full"
    monkeypatch.setattr(download, "_copy", real)
    does.asked = []
    assert fetch(entry_for((f"{url}/net.pth",)), home).sha256 == digest(does.data)
    assert does.asked == ["bytes=1000-"]


def test_a_file_that_holds_no_tensors_installs_nothing(server: Server, home: Path) -> None:
    url, does = server
    does.data = b"BAD pickle"
    with pytest.raises(InstallError) as failed:
        fetch(entry_for((f"{url}/net.pth",)), home)
    assert failed.value.code == "bad_weights"
    assert nothing_but_partial(home)


def test_terms_come_before_the_download(server: Server, home: Path) -> None:
    url, does = server
    entry = entry_for((f"{url}/net.pth",), license=NON_COMMERCIAL)
    with pytest.raises(InstallError) as failed:
        fetch(entry, home)
    assert failed.value.code == "license_required"
    assert does.asked == []
    licenses.accept(entry, home, name="Ada", purpose="study", policies=())
    assert fetch(entry, home).sha256 == digest(does.data)


def test_importing_asks_for_the_same_hash_and_leaves_the_file(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "brought.pth"
    file.write_bytes(b"tensors")
    entry = entry_for(("https://example.org/net.pth",), sha256=digest(b"tensors"))
    installed = weights.import_file(entry, file, home, convert=copy_tensors, policies=())
    assert (installed.folder / "net.safetensors").read_bytes() == b"converted:tensors"
    assert file.read_bytes() == b"tensors"
    file.write_bytes(b"others")
    with pytest.raises(InstallError) as failed:
        weights.import_file(entry, file, home, convert=copy_tensors, policies=())
    assert failed.value.code == "hash_mismatch"


def test_a_changed_or_missing_file_is_found_by_verify(server: Server, home: Path) -> None:
    url, _ = server
    entry = entry_for((f"{url}/net.pth",))
    path = fetch(entry, home).folder / "net.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"!")
    with pytest.raises(InstallError) as failed:
        weights.verify(entry, home, home)
    assert failed.value.code == "hash_mismatch"
    path.unlink()
    with pytest.raises(InstallError) as failed:
        weights.verify(entry, home, home)
    assert failed.value.code == "weights_missing"
    (row,) = weights.listing({"tiny": entry}, home, home, policies=())
    assert row.state == "broken"
    assert weights.remove(entry, home)
    assert not weights.remove(entry, home)


MEMBERS = {"a": "deep/a.pth", "b": "data/b.pth"}


def zip_of(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def test_only_named_members_leave_an_archive(home: Path, tmp_path: Path) -> None:
    file = zip_of(
        tmp_path / "all.zip",
        {"deep/a.pth": b"A", "data/b.pth": b"B", "../../evil.pth": b"E", "/etc/evil": b"E"},
    )
    entry = entry_for(("https://example.org/all.zip",), files=MEMBERS)
    installed = weights.import_file(entry, file, home, convert=copy_tensors, policies=())
    here = {path.name for path in installed.folder.iterdir()}
    assert here == {"a.safetensors", "b.safetensors", "record.json", "NOTICE.txt"}
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("what", ["missing member", "no zip", "cut off", "bomb"])
def test_a_bad_archive_installs_nothing(home: Path, tmp_path: Path, what: str) -> None:
    files = {"deep/a.pth": b"A" * 100, "data/b.pth": b"B" * 100}
    if what == "missing member":
        del files["data/b.pth"]
    if what == "bomb":
        files["data/b.pth"] = b"\0" * 3_000_000
    file = zip_of(tmp_path / "all.zip", files, zipfile.ZIP_DEFLATED)
    if what == "no zip":
        file.write_bytes(b"<html>please log in</html>")
    if what == "cut off":
        file.write_bytes(file.read_bytes()[:150])
    entry = entry_for(("https://example.org/all.zip",), files=MEMBERS)
    with pytest.raises(InstallError) as failed:
        weights.import_file(entry, file, home, convert=copy_tensors, policies=())
    assert failed.value.code == "bad_archive"
    assert nothing_but_partial(home)


def test_two_installations_at_once_do_not_mix(home: Path, tmp_path: Path) -> None:
    from install.lock import only_one

    file = tmp_path / "net.pth"
    file.write_bytes(b"tensors")
    entry = entry_for(("https://example.org/net.pth",))
    with only_one(home / "weights" / ".lock"), pytest.raises(InstallError) as failed:
        weights.import_file(entry, file, home, convert=copy_tensors, policies=())
    assert failed.value.code == "locked"
