"""Nuke runs this at start-up, with and without a GUI: makes ColorBridge importable."""

import os
import sys

import nuke

_here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 (as old as it must be)

if sys.version_info >= (3, 9):  # noqa: UP036 (Nuke 13 reads this file too)
    if _here not in sys.path:
        sys.path.append(_here)  # behind Nuke's own, so that nothing of Nuke is shadowed
    nuke.pluginAppendPath("icons")
