"""What the window looks like: rows of elements, before they have values or handlers."""

from __future__ import annotations

from typing import Any

from host_plugins.host_layer import Panel
from host_plugins.resolve_host import widgets
from host_plugins.resolve_host.options import CHOICES

PREVIEW_SIZE = (480, 270)
#: what is shown for each of options.CHOICES, in the same order
LABELS = {
    "plate": ("Plate with grade", "Plate without grade", "Source file"),
    "plate_format": ("Automatic", "TIFF 16 bit", "EXR half"),
    "place": ("New track above", "Take of the clip", "Fusion Loader"),
    "result": ("As the plate", "TIFF 16 bit", "EXR half", "ProRes 4444"),
}


def layout(ui: Any, panel: Panel, sentence: str) -> Any:
    """The window's one group. sentence: the status line to begin with."""
    size = list(PREVIEW_SIZE)
    return ui.VGroup(
        [
            _row(ui, "Effect", ui.ComboBox({"ID": "effect"})),
            _text(ui, "notice", panel.notice),
            _row(ui, "Clips", ui.ComboBox({"ID": "clips"})),
            *(_row(ui, _label(name), ui.ComboBox({"ID": name})) for name in CHOICES),
            _row(ui, "Exemplars", ui.ComboBox({"ID": "exemplars"})),
            ui.HGroup(
                {"Weight": 0},
                [
                    ui.ComboBox({"ID": "source"}),
                    ui.Button({"ID": "pin", "Text": "Pin to this frame"}),
                    ui.Button({"ID": "remove", "Text": "Remove"}),
                ],
            ),
            ui.VGroup({"ID": "parameters", "Weight": 0}, widgets.rows(ui, panel)),
            ui.Button(
                {
                    "ID": "picture",
                    "Text": "No preview yet",
                    "IconSize": size,
                    "MinimumSize": size,
                }
            ),
            ui.HGroup(
                {"Weight": 0},
                [
                    ui.Button({"ID": "preview", "Text": "Preview"}),
                    ui.Button({"ID": "colorize", "Text": "Colorize"}),
                    ui.Button({"ID": "cancel", "Text": "Cancel", "Enabled": False}),
                ],
            ),
            _text(ui, "status", sentence),
        ]
    )


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _row(ui: Any, label: str, element: Any) -> Any:
    name = ui.Label({"Text": label, "Weight": widgets.LABEL_WEIGHT})
    return ui.HGroup({"Weight": 0}, [name, element])


def _text(ui: Any, name: str, text: str) -> Any:
    return ui.Label({"ID": name, "Text": text, "WordWrap": True, "Weight": 0})
