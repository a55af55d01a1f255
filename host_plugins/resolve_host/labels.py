"""The names that a run leaves in a project, in one place so that all of them are found again."""

from __future__ import annotations

BIN_NAME = "ChromaBridge"
TRACK_NAME = "Colorized"
RESULT_COLOR = "Teal"
PIN_MARKER = "Sky"
RESULT_MARKER = "Mint"
TEMPORARY = "ChromaBridge temporary"
PRESETS = {"exr": "ChromaBridge EXR half", "tif": "ChromaBridge TIFF 16"}
