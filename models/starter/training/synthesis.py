"""Training samples: two or three pictures of one scene, with exact correspondences.

A scene is a photo as background and cut-outs or blobs of other photos before it; each picture
looks at it through its own affine map, warp, light and lens. Because the maps are ours, where a
pixel of one picture lies in another is known. Some samples are frames of real shots instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
HIDDEN = -1
Picked = TypeVar("Picked")


@dataclass(frozen=True)
class Stock:
    """Decoded sources: BGR photos with their halves, BGRA cut-outs, (T, H, W, 3) BGR shots."""

    photos: list[list[Array]]
    cutouts: list[Array]
    shots: list[Array]

    @classmethod
    def load(cls, data: Path, *, part: str) -> Stock:
        """part: "train", or "held_out": every 12th photo and cut-out, shots of that name."""

        def mine(folder: str) -> list[Path]:
            paths = sorted((data / folder).iterdir())
            return [p for i, p in enumerate(paths) if (i % 12 == 6) == (part == "held_out")]

        photos, cutouts = mine("photos"), mine("cutouts")
        shots = sorted((data / "clips").glob(f"{part}_*.npy"))
        return cls(
            [_halves(_read(p)) for p in photos],
            [_read(p, cv2.IMREAD_UNCHANGED) for p in cutouts],
            [np.load(p, mmap_mode="r") for p in shots],
        )


@dataclass(frozen=True)
class Sample:
    """pictures: (P, 3, S, S) float32 CIE Lab.

    match: (P, P - 1, S/4, S/4, 2) float32: for picture p, x and y in each other picture (in
    order) of its quarter-size tokens' centers, in pixels; HIDDEN where it cannot be seen there.
    known: whether match holds.
    """

    pictures: Array
    match: Array
    known: bool


@dataclass
class _Layer:
    levels: list[Array]  # the texture, its half, ...: (h, w, 3) BGR or (h, w, 4) BGR and alpha
    affines: list[Array]  # picture k's coordinates to texture coordinates, (2, 3)
    warps: list[Array]  # (S, S, 2), displacement in picture k
    absent: list[bool]
    border: int
    dye: tuple[float, float] = (1.0, 0.0)  # chroma's gain, hue's turn in radians


def make_sample(
    stock: Stock, rng: np.random.Generator, size: int, count: int, *, dyed: bool = False
) -> Sample:
    """count pictures of one scene; size: a multiple of 32.

    dyed: some layers are gray, pale or of another hue than their source, and some are plain
    bodies with soft shading, so that color cannot be told from texture.
    """
    if stock.shots and rng.random() < 0.2:
        pictures = _real(stock, rng, size, count)
        match = np.full((count, count - 1, size // 4, size // 4, 2), HIDDEN, np.float32)
        return Sample(_finish(pictures, rng), match, known=False)
    layers = _scene(stock, rng, size, count, dyed)
    drawn = [_draw(layers, k, size) for k in range(count)]
    owners = [owner for _, owner in drawn]
    match = np.stack(
        [
            np.stack([_correspond(layers, owners, p, k, size) for k in range(count) if k != p])
            for p in range(count)
        ]
    )
    pictures = [_lens(picture, rng) for picture, _ in drawn]
    return Sample(_finish(pictures, rng), match, known=True)


def _scene(
    stock: Stock, rng: np.random.Generator, size: int, pictures: int, dyed: bool
) -> list[_Layer]:
    near = rng.random() < 0.35
    photo = _pick(stock.photos, rng)
    height, width = photo[0].shape[:2]
    zoom = float(np.exp(rng.uniform(np.log(0.6), np.log(3.2))))
    zoom = max(0.35, min(zoom, 1.1 * min(height, width) / size))
    margin = min(0.5, 0.5 * zoom * size / min(height, width))
    center = (
        rng.uniform(margin, 1 - margin) * width,
        rng.uniform(margin, 1 - margin) * height,
    )
    base = _affine(zoom, 0.0, center, size)
    layers = [_moving(photo, base, rng, size, pictures, near, cv2.BORDER_REFLECT_101)]
    if dyed and rng.random() < 0.2:
        layers[0].dye = _dye(rng)
    for _ in range(int(rng.choice(4, p=(0.2, 0.3, 0.3, 0.2)))):
        texture = (
            _pick(stock.cutouts, rng)
            if rng.random() < 0.4
            else _blob(_pick(stock.photos, rng)[0], rng, plain=0.25 if dyed else 0.0)
        )
        if rng.random() < 0.5:
            texture = np.ascontiguousarray(texture[:, ::-1])
        extent = rng.uniform(0.12, 0.7) * size
        scale = max(texture.shape[:2]) / extent
        at = rng.uniform(0.05, 0.95, 2) * size
        middle = (texture.shape[1] / 2, texture.shape[0] / 2)
        base = _affine(scale, rng.uniform(-0.3, 0.3), middle, size, at)
        layers.append(
            _moving(_halves(texture), base, rng, size, pictures, near, cv2.BORDER_CONSTANT)
        )
        if dyed and rng.random() < 0.45:
            layers[-1].dye = _dye(rng)
        jump = rng.random() < (0.15 if near else 0.6)
        for k in range(pictures - 1):
            if jump:
                angle = rng.uniform(-0.5, 0.5)
                resized = scale * float(np.exp(rng.uniform(-0.35, 0.35)))
                spot = rng.uniform(0.05, 0.95, 2) * size
                layers[-1].affines[k] = _affine(resized, angle, middle, size, spot)
            layers[-1].absent[k] = bool(rng.random() < 0.1)
    return layers


def _moving(
    levels: list[Array],
    base: Array,
    rng: np.random.Generator,
    size: int,
    pictures: int,
    near: bool,
    border: int,
) -> _Layer:
    shift, grow, turn, bend = (0.06, 0.06, 0.04, 2.5) if near else (0.3, 0.35, 0.3, 9.0)
    affines, warps = [], []
    for _ in range(pictures):
        strength = rng.uniform(0, 1)
        scale = float(np.exp(rng.uniform(-grow, grow) * strength))
        angle = rng.uniform(-turn, turn) * strength
        center = size / 2 + rng.uniform(-shift, shift, 2) * size * strength
        own = _affine(scale, angle, (size / 2, size / 2), size, center)
        affines.append(_compose(base, own))
        cells = int(rng.integers(3, 7))
        field = rng.normal(0, bend * strength * rng.uniform(0, 0.6), (cells, cells, 2))
        warps.append(
            cv2.resize(field.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
        )
    return _Layer(levels, affines, warps, [False] * pictures, border)


def _draw(layers: list[_Layer], k: int, size: int) -> tuple[Array, Array]:
    """Picture k of the scene: (S, S, 3) BGR 0..255 float32, and the layer seen at each pixel."""
    owner = np.zeros((size, size), np.int32)
    picture: Array = np.zeros((size, size, 3), np.float32)
    grid = _grid(size)
    for number, layer in enumerate(layers):
        if layer.absent[k]:
            continue
        at = _apply(layer.affines[k], grid + layer.warps[k])
        scale = float(np.sqrt(abs(np.linalg.det(layer.affines[k][:, :2]))))
        level = min(max(0, round(np.log2(scale) + 0.2)), len(layer.levels) - 1)
        texture = layer.levels[level]
        at = (at + 0.5) / 2**level - 0.5
        seen = cv2.remap(texture, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=layer.border)
        if layer.dye != (1.0, 0.0):
            seen = _dyed(seen, *layer.dye)
        if number == 0:
            picture = seen.astype(np.float32)
            continue
        alpha = seen[..., 3:] / np.float32(255)
        picture = picture * (1 - alpha) + seen[..., :3] * alpha
        owner[alpha[..., 0] > 0.5] = number
    return picture, owner


def _correspond(layers: list[_Layer], owners: list[Array], p: int, k: int, size: int) -> Array:
    """Where the centers of picture p's quarter-size tokens lie in picture k."""
    grid = _grid(size)[2::4, 2::4] - 0.5  # token centers between pixels 1 and 2 of each four
    owner = owners[p][2::4, 2::4]
    match = np.full((*owner.shape, 2), HIDDEN, np.float32)
    for number, layer in enumerate(layers):
        here = owner == number
        if layer.absent[k] or not here.any():
            continue
        points = grid[here]
        points = points + _sample(layer.warps[p], points)
        target = _apply(_invert(layer.affines[k]), _apply(layer.affines[p], points))
        found = target
        for _ in range(6):  # found + warp(found) = target
            found = target - _sample(layer.warps[k], found)
        error = np.abs(found + _sample(layer.warps[k], found) - target).max(-1)
        inside = ((found > 0) & (found < size - 1)).all(-1) & (error < 0.7)
        pixel = np.clip(np.rint(found).astype(int), 0, size - 1)
        inside &= owners[k][pixel[:, 1], pixel[:, 0]] == number
        match[here] = np.where(inside[:, None], found, HIDDEN)
    return match


def _real(stock: Stock, rng: np.random.Generator, size: int, pictures: int) -> list[Array]:
    shot = stock.shots[int(rng.integers(len(stock.shots)))]
    query = int(rng.integers(len(shot)))
    height, width = shot.shape[1:3]
    crop = int(rng.uniform(size * 0.8, min(height, width)))
    top, left = int(rng.integers(height - crop + 1)), int(rng.integers(width - crop + 1))
    flip = rng.random() < 0.5
    out = []
    for k in range(pictures):
        reach = int(rng.choice((2, 8, 20, 60)))
        low, high = max(0, query - reach), min(len(shot) - 1, query + reach)
        index = query if k == pictures - 1 else int(rng.integers(low, high + 1))
        picture = np.asarray(shot[index][top : top + crop, left : left + crop]).astype(np.float32)
        interpolation = cv2.INTER_AREA if crop > size else cv2.INTER_CUBIC
        picture = cv2.resize(picture, (size, size), interpolation=interpolation)
        out.append(np.ascontiguousarray(picture[:, ::-1]) if flip else picture)
    return out


def _lens(picture: Array, rng: np.random.Generator) -> Array:
    """Defocus, motion blur and smooth changes of light, each sometimes."""
    size = picture.shape[0]
    if rng.random() < 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 2.0))
    if rng.random() < 0.12:
        length = int(rng.integers(3, 12))
        kernel = np.zeros((length, length), np.float32)
        angle = rng.uniform(0, np.pi)
        half = length / 2 - 0.5
        offset = np.array((np.cos(angle), np.sin(angle))) * half
        start, end = np.rint(half - offset).astype(int), np.rint(half + offset).astype(int)
        cv2.line(kernel, tuple(start.tolist()), tuple(end.tolist()), 1.0)
        picture = cv2.filter2D(picture, -1, kernel / kernel.sum())
    if rng.random() < 0.35:
        cells = int(rng.integers(2, 5))
        field = rng.normal(0, rng.uniform(0.05, 0.3), (cells, cells)).astype(np.float32)
        field = cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC)
        picture = picture * np.exp(field)[..., None]
    return np.clip(picture, 0, 255)


def _finish(pictures: list[Array], rng: np.random.Generator) -> Array:
    """To CIE Lab; one change of colors for the sample, one of lightness for each picture."""
    labs = [cv2.cvtColor(p / np.float32(255), cv2.COLOR_BGR2LAB) for p in pictures]
    out: Array = np.stack([lab.transpose(2, 0, 1) for lab in labs]).astype(np.float32)
    turn = rng.uniform(-np.pi, np.pi) if rng.random() < 0.4 else rng.uniform(-0.3, 0.3)
    gain = float(np.exp(rng.uniform(-0.4, 0.5)))
    a, b = out[:, 1].copy(), out[:, 2].copy()
    out[:, 1] = np.clip(gain * (np.cos(turn) * a - np.sin(turn) * b), -110, 110)
    out[:, 2] = np.clip(gain * (np.sin(turn) * a + np.cos(turn) * b), -110, 110)
    if rng.random() < 0.25:  # film that sees red, green and blue in other shares
        share = rng.dirichlet((1.0, 2.0, 1.0))
        for picture, lab in zip(pictures, out, strict=True):
            gray = (picture @ share[::-1].astype(np.float32)) / 255
            mix = cv2.cvtColor(np.repeat(gray[..., None], 3, 2), cv2.COLOR_BGR2LAB)
            lab[0] = mix[..., 0]
    flip = rng.random() < 0.03
    common = float(np.exp(rng.uniform(-0.35, 0.35)))
    for k in range(len(out)):
        own = float(np.exp(rng.normal(0, 0.12 if k < len(out) - 1 else 0.04)))
        light = np.clip(out[k, 0] / 100, 0, 1) ** (common * own)
        contrast, offset = rng.uniform(0.85, 1.12), rng.normal(0, 0.025)
        light = (light - 0.5) * contrast + 0.5 + offset
        if rng.random() < 0.5:
            light = light + rng.normal(0, rng.uniform(0, 0.03), light.shape)
        light = np.clip(light, 0, 1)
        out[k, 0] = 100 * (1 - light if flip else light)
    return out


def _dye(rng: np.random.Generator) -> tuple[float, float]:
    """Gray or nearly so as often as another hue."""
    if rng.random() < 0.5:
        return float(rng.choice((0.0, 0.15, 0.3))), float(rng.uniform(-np.pi, np.pi))
    return float(np.exp(rng.uniform(-0.5, 0.6))), float(rng.uniform(-np.pi, np.pi))


def _dyed(picture: Array, gain: float, turn: float) -> Array:
    """picture: (h, w, 3 or 4), BGR 0..255 and perhaps alpha, with its chroma turned and scaled."""
    lab = cv2.cvtColor(picture[..., :3].astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
    a, b = lab[..., 1].copy(), lab[..., 2].copy()
    lab[..., 1] = gain * (np.cos(turn) * a - np.sin(turn) * b)
    lab[..., 2] = gain * (np.sin(turn) * a + np.cos(turn) * b)
    out = picture.astype(np.float32)
    out[..., :3] = cv2.cvtColor(lab, cv2.COLOR_LAB2BGR) * 255
    return out


def _blob(photo: Array, rng: np.random.Generator, plain: float = 0.0) -> Array:
    """A soft random shape cut out of a photo: (h, w, 4). plain: how often without its texture."""
    side = int(min(photo.shape[0], photo.shape[1], rng.uniform(80, 360)))
    top = int(rng.integers(photo.shape[0] - side + 1))
    left = int(rng.integers(photo.shape[1] - side + 1))
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.full(48, 0.38)
    for order in range(2, 7):
        radius += rng.normal(0, 0.1 / order) * np.cos(order * angles + rng.uniform(0, 6.3))
    radius = np.clip(radius, 0.1, 0.5) * side
    stretch = rng.uniform(0.35, 1.0)
    points = np.stack((np.cos(angles) * radius, np.sin(angles) * radius * stretch), 1) + side / 2
    alpha = np.zeros((side, side), np.uint8)
    cv2.fillPoly(alpha, [np.rint(points).astype(np.int32)], 255)
    cut = photo[top : top + side, left : left + side]
    if plain and rng.random() < plain:
        cut = cv2.GaussianBlur(cut, (0, 0), rng.uniform(4, 16))
    return np.dstack((cut, cv2.GaussianBlur(alpha, (0, 0), 1.0)))


def _halves(picture: Array) -> list[Array]:
    """The picture, its half, quarter ... while 32 pixels are left: sampling them does not alias."""
    levels = [picture]
    while min(levels[-1].shape[:2]) >= 64:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return levels


def _affine(
    scale: float,
    angle: float,
    center: tuple[float, float],
    size: int,
    origin: Array | None = None,
) -> Array:
    """Maps origin (the picture's middle unless given) to center, turned and scaled."""
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    linear = np.array(((cosine, -sine), (sine, cosine)))
    start = np.array((size / 2, size / 2)) if origin is None else np.asarray(origin)
    return np.column_stack((linear, np.asarray(center) - linear @ start))


def _compose(outer: Array, inner: Array) -> Array:
    linear = outer[:, :2] @ inner[:, :2]
    return np.column_stack((linear, outer[:, :2] @ inner[:, 2] + outer[:, 2]))


def _invert(affine: Array) -> Array:
    linear = np.linalg.inv(affine[:, :2])
    return np.column_stack((linear, -linear @ affine[:, 2]))


def _apply(affine: Array, points: Array) -> Array:
    return (points @ affine[:, :2].T + affine[:, 2]).astype(np.float32)


def _sample(field: Array, points: Array) -> Array:
    """Bilinear; points: (N, 2). Returns (N, 2)."""
    at = points.astype(np.float32)[None]
    out = cv2.remap(
        field, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(out[0])


def _grid(size: int) -> Array:
    axis = np.arange(size, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis), -1)


def _pick(pictures: list[Picked], rng: np.random.Generator) -> Picked:
    return pictures[int(rng.integers(len(pictures)))]


def _read(path: Path, mode: int = cv2.IMREAD_COLOR) -> Array:
    picture = cv2.imread(str(path), mode)
    if picture is None:
        raise ValueError(f"expected a picture, got {path.name}")
    return np.asarray(picture)
