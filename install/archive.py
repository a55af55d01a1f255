"""Taking named files out of a zip archive that is not trusted."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from install.errors import InstallError

MAX_MEMBER_BYTES = 2 << 30
MAX_RATIO = 200


def extract(archive: Path, members: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Write each named member to folder/KEY.pth; returns the files by key.

    The names inside the archive never become paths here: they are only looked up, and everything
    else in the archive is left alone. Raises InstallError `bad_archive`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    try:
        with zipfile.ZipFile(archive) as source:
            infos = {info.filename: info for info in source.infolist()}
            for key, name in members.items():
                info = _checked(infos, name, archive)
                target = folder / f"{key}.pth"
                with source.open(info) as member, target.open("wb") as file:
                    shutil.copyfileobj(member, file, 1 << 20)
                files[key] = target
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InstallError(
            "bad_archive", f"{archive.name} is no readable zip archive: {error}", hint=_HINT
        ) from None
    return files


_HINT = "Fetch it again; if it stays so, the file at its address has changed."


def _checked(infos: Mapping[str, zipfile.ZipInfo], name: str, archive: Path) -> zipfile.ZipInfo:
    info = infos.get(name)
    if info is None or info.is_dir():
        raise InstallError("bad_archive", f"{archive.name} holds no file {name}", hint=_HINT)
    packed = max(1, info.compress_size)
    if info.file_size > MAX_MEMBER_BYTES or info.file_size / packed > MAX_RATIO:
        raise InstallError(
            "bad_archive",
            f"{name} would unpack from {packed} to {info.file_size} bytes",
            hint=_HINT,
        )
    return info
