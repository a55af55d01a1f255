"""The free pictures and clips that the starter network learns from, with their licences."""

from __future__ import annotations

from dataclasses import dataclass, field

FREE = ("CC0-1.0", "public-domain", "CC-BY-1.0", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0")


@dataclass(frozen=True)
class Source:
    """A package and what is taken from it.

    kind: "deb", "pypi" or "npm", the client that fetches it. package: name and, for pypi and npm,
    version. patterns: files taken, as globs inside the unpacked package; licence: theirs, or
    "dep5" when each file's own is read from the package's debian/copyright and only FREE ones
    are kept. role: "photos", "cutouts" (pictures with alpha) or "clips".
    """

    kind: str
    package: str
    role: str
    licence: str
    credit: str
    patterns: tuple[str, ...] = field(default=("**/*",))


_OPENCV_DATA = (
    "aero1.jpg",
    "aero3.jpg",
    "aloeL.jpg",
    "apple.jpg",
    "board.jpg",
    "building.jpg",
    "butterfly.jpg",
    "chicky_512.png",
    "ela_original.jpg",
    "fruits.jpg",
    "graf1.png",
    "home.jpg",
    "leuvenA.jpg",
    "licenseplate_motion.jpg",
    "orange.jpg",
    "rubberwhale1.png",
    "smarties.png",
    "squirrel_cls.jpg",
)
_OPENCV_HTML = (
    "plant.jpg",
    "bicubicOutput.jpg",
    "detect_test1.jpg",
    "detect_test2.jpg",
    "affinepano.jpg",
    "boat.jpg",
    "astra_color.jpg",
    "fusion_mertens.jpg",
    "retina_TreeHdr_small.jpg",
    "4_barcodes.jpg",
    "singlemarkersoriginal.jpg",
)
_SKIMAGE = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "retina.jpg",
    "hubble_deep_field.jpg",
)
_OPENCV_TEXT = [f"scenetext{n:02d}.jpg" for n in range(1, 7)]

SOURCES = (
    Source(
        "deb",
        "opencv-doc",
        "photos",
        "Apache-2.0",
        "OpenCV samples and tutorials, the OpenCV team",
        tuple(f"**/examples/data/{name}" for name in _OPENCV_DATA)
        + tuple(f"**/opencv4/html/{name}" for name in _OPENCV_HTML)
        + tuple(f"**/examples/text/{name}" for name in _OPENCV_TEXT)
        + ("**/examples/reg/home.png", "**/examples/hfs/data/000.jpg"),
    ),
    Source(
        "pypi",
        "scikit-image==0.17.2",
        "photos",
        "CC0-1.0, public domain and BSD-3-Clause (skimage/data/README.txt)",
        "scikit-image contributors, NASA, S. van der Walt, R. Michel, P. Thorsteinsson",
        tuple(
            f"**/skimage/data/{name}"
            for name in [
                "astronaut.png",
                "chelsea.png",
                "coffee.png",
                "rocket.jpg",
                "retina.jpg",
                "hubble_deep_field.jpg",
            ]
        ),
    ),
    Source(
        "pypi",
        "scikit-learn==1.5.2",
        "photos",
        "CC-BY-2.0",
        "china.jpg and flower.jpg, (c) the photographers named in sklearn/datasets/images",
        ("**/sklearn/datasets/images/*.jpg",),
    ),
    Source(
        "deb",
        "lomiri-wallpapers-16.04",
        "photos",
        "dep5",
        "Ubuntu Touch community photographers",
        ("**/backgrounds/*.jpg",),
    ),
    Source(
        "deb",
        "gcompris-qt-data",
        "photos",
        "dep5",
        "photographs in GCompris",
        ("**/*.rcc",),
    ),
    Source(
        "npm",
        "@pmndrs/assets@1.7.0",
        "photos",
        "CC0-1.0",
        "Poly Haven light probes, packaged by pmndrs",
        ("package/hdri/*.exr.js",),
    ),
    Source(
        "deb",
        "openclipart-png",
        "cutouts",
        "public-domain",
        "Open Clip Art Library",
        ("**/*.png",),
    ),
    Source(
        "pypi",
        "moviepy==2.1.2",
        "clips",
        "CC-BY-3.0",
        "Big Buck Bunny trailer, (c) copyright 2008, Blender Foundation, www.bigbuckbunny.org",
        ("**/trailer_bbb.mp4",),
    ),
)
# Frames of the trailer, first and last: the demo clip's shot, set and character are not among those
# trained on; other shots with that character only serve to validate.
TRAIN_SHOTS = ((45, 212), (262, 330), (778, 862), (989, 1048))
HELD_OUT_SHOTS = ((865, 899), (907, 987), (1050, 1105))
