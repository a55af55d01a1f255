"""The record of a run: what was asked, what was done and why they differ; JSON and a page."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from host_plugins.host_layer.files import write_whole


def write_record(folder: Path, record: Mapping[str, Any], *, name: str = "result") -> Path:
    """Write `name`.record.json and `name`.report.html into a folder; returns the page.

    Raises BridgeError disk_full, output_not_writable.
    """
    text = json.dumps(record, indent=1, default=str)
    write_whole(folder / f"{name}.record.json", text.encode())
    page = folder / f"{name}.report.html"
    write_whole(page, _page(record).encode())
    return page


def _page(record: Mapping[str, Any]) -> str:
    title = f"ChromaBridge: {record.get('effect', '')}, {record.get('outcome', '')}"
    rows = "".join(
        f"<tr><th>{html.escape(str(name))}</th><td>{_cell(value)}</td></tr>"
        for name, value in record.items()
    )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        f"<title>{html.escape(title)}</title>"
        "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;"
        "color:#222;background:#fafafa}h1{font-size:1.3rem}table{border-collapse:collapse}"
        "th{text-align:left;vertical-align:top;padding:.3rem 1.2rem .3rem 0;white-space:nowrap}"
        "td{padding:.3rem 0}tr{border-top:1px solid #ddd}ul{margin:0;padding-left:1.1rem}"
        f"</style><h1>{html.escape(title)}</h1><table>{rows}</table></html>"
    )


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        items = [f"{name}: {told}" for name, told in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        items = [str(item) for item in value]
    else:
        return html.escape(str(value))
    if not items:
        return "none"
    return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"
