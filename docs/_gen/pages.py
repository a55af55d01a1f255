"""Fills the documentation's generated parts from the code, each time the site is built."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

MARK = re.compile(r"<!-- generated: ([a-z-]+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs for each page; replaces every mark by what it names."""
    return MARK.sub(lambda found: PARTS[found.group(1)](), markdown)


def parameters() -> str:
    """A section for each effect: its parameters by group."""
    from bridge_server.effects import registry

    lines = []
    for name in registry.offered():
        effect = registry.find(name)
        lines += [f"## {effect.label} (`{effect.id}`)", "", effect.hint, ""]
        lines += [f"!!! warning\n    {effect.notice}", ""] if effect.notice else []
        for group in effect.groups:
            shown = [param for param in effect.params if param.group == group.name]
            if not shown:
                continue
            lines += [f"### {group.label} {{ #{effect.id}-{group.name} }}", ""]
            lines += ["| parameter | name | takes | default | meaning |", "|---|---|---|---|---|"]
            for param in shown:
                cells = (param.label, f"`{param.name}`", param.expected(), _shown(param.default))
                lines.append(f"| {' | '.join(cells)} | {_cell(param.hint)} |")
            lines.append("")
    return "\n".join(lines)


def presets() -> str:
    """The tables of memory modes and device sizes that the server itself uses."""
    from accel import presets as table

    return table.markdown()


def error_codes() -> str:
    """Every code that a client can meet, with what to do."""
    from host_plugins.wire.errors import CODES

    rows = [f"| `{code}` | {_cell(hint)} |" for code, hint in CODES.items()]
    return "\n".join(["| code | what to do |", "|---|---|", *rows])


def install_codes() -> str:
    """Every code of the installer with the exit code that goes with it."""
    from install.errors import EXIT_CODES

    rows = [f"| `{code}` | {number} |" for code, number in EXIT_CODES.items()]
    return "\n".join(["| code | exit code |", "|---|---|", *rows])


def weights() -> str:
    """The manifest of weights as a table, with their terms."""
    from install import manifest

    entries = manifest.load().values()
    lines = ["| name | weights | licence | commercial use | where from |", "|---|---|---|---|---|"]
    for entry in entries:
        source = f"[authors]({entry.urls[0]})" if entry.urls else "in this repository"
        terms = entry.license
        licence = f"[{terms.spdx}]({terms.url})"
        allowed = "yes" if terms.commercial else "**no**"
        lines.append(f"| `{entry.name}` | {entry.title} | {licence} | {allowed} | {source} |")
    for entry in entries:
        lines += ["", f"**{entry.title}.** {entry.license.attribution}", ""]
        lines += [f"- {sentence}" for sentence in entry.license.terms]
    return "\n".join(lines)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{value}`" if value != "" else "none"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


PARTS: dict[str, Callable[[], str]] = {
    "parameters": parameters,
    "presets": presets,
    "error-codes": error_codes,
    "install-codes": install_codes,
    "weights": weights,
}
