"""The window: an effect's panel, exemplars, preview and run, all on Resolve's one script thread.

A timer moves the run on step by step, so that Cancel is heard while the server works. Workers run
elsewhere and never touch Resolve.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, Callable, Optional

from host_plugins.host_layer import Panel, Service
from host_plugins.host_layer.messages import explain
from host_plugins.resolve_host import widgets
from host_plugins.resolve_host.clips import CLIP_COLORS, TimelineClip, choose_clips, track_count
from host_plugins.resolve_host.colorize import Run
from host_plugins.resolve_host.exemplars import SOURCES, add_exemplar
from host_plugins.resolve_host.host import ResolveHost
from host_plugins.resolve_host.markers import PinMarker, read_pins, remove_marker
from host_plugins.resolve_host.options import CHOICES, Options, load_preset, save_preset
from host_plugins.resolve_host.panel_layout import LABELS, layout
from host_plugins.resolve_host.preview import Preview, preview
from host_plugins.resolve_host.steps import Step
from host_plugins.wire.errors import BridgeError

WINDOW = "com.chromabridge.panel"
TICK_MS = 150


def ui_of(host: ResolveHost) -> Any:
    """The UIManager, or None. Not even asked for where the edition has no windows: the free one
    answers with an advertisement, and every later call fails until a person closes it."""
    if not host.edition.windows:
        return None
    fusion = host.fusion
    if fusion is None or host.bmd is None:
        return None
    manager = getattr(fusion, "UIManager", None)
    return manager() if callable(manager) else manager


class PanelWindow:
    """One window; `run` shows it and comes back when it is closed."""

    def __init__(self, host: ResolveHost, service: Service, ui: Any) -> None:
        self._host = host
        self._service = service
        self._ui = ui
        self._dispatcher = host.bmd.UIDispatcher(ui)
        self._folder: Optional[Path] = None  # of the preview's pictures, while the window is open
        self._panel: Optional[Panel] = None
        self._effects: tuple[str, ...] = ()
        self._work: Optional[Generator[Step, None, Any]] = None
        self._end: Callable[[Any], None] = lambda value: None
        self._preview: Optional[Preview] = None
        self._after = True
        self._showing = False
        self._pins: list[PinMarker] = []
        self._window: Any = None
        self._items: Any = {}
        self._scopes: list[str] = []

    def run(self) -> None:
        """Show the window until it is closed. A second call of the menu shows the first window."""
        other = self._ui.FindWindow(WINDOW)
        if other:
            other.Show()
            return
        self._ask_server()
        self._build()
        timer = self._ui.Timer({"ID": "tick", "Interval": TICK_MS, "SingleShot": False})
        self._dispatcher.On.Timeout = self._tick
        timer.Start()
        self._folder = Path(tempfile.mkdtemp(prefix="chromabridge-preview-"))
        self._window.Show()
        try:
            self._dispatcher.RunLoop()
        finally:
            timer.Stop()
            self._stop_work()
            self._put_away()
            shutil.rmtree(self._folder, ignore_errors=True)  # a viewer may hold a file on Windows

    # --- the window ---

    def _put_away(self) -> None:
        """Hide the window under another name, so that nobody finds it by its own any more."""
        self._window.Hide()
        self._window.ID = f"{WINDOW}.closed.{id(self._window)}"

    def _ask_server(self) -> None:
        """The effects and the panel of one; as remembered where no server can be had."""
        try:
            self._effects = self._service.effects(start=True).result()
            self._panel = self._service.panel(load_preset().effect).result()
        except BridgeError:
            self._effects = self._service.remembered_effects()
            self._panel = self._service.remembered()
            if self._panel is None:
                raise

    def _build(self) -> None:
        ui, panel = self._ui, self._panel
        assert panel is not None
        self._scopes = self._list_scopes()
        self._window = self._dispatcher.AddWindow(
            {"ID": WINDOW, "WindowTitle": "ChromaBridge", "Geometry": [120, 120, 560, 860]},
            [layout(ui, panel, self._host.edition.sentence)],
        )
        self._items = self._window.GetItems()
        self._fill()
        self._connect()

    def _fill(self) -> None:
        items, panel, saved = self._items, self._panel, load_preset()
        assert panel is not None
        effects = self._effects or (panel.effect,)
        items["effect"].AddItems(list(effects))
        items["effect"].CurrentIndex = effects.index(panel.effect)
        items["clips"].AddItems([scope.replace(":", " ") for scope in self._scopes])
        if saved.clips in self._scopes:
            items["clips"].CurrentIndex = self._scopes.index(saved.clips)
        items["source"].AddItems(list(SOURCES.values()))
        for name, labels in LABELS.items():
            items[name].AddItems(list(labels))
            items[name].CurrentIndex = CHOICES[name].index(getattr(saved, name))
        values = panel.values(saved.values)
        widgets.fill(items, panel, values)
        widgets.show_states(items, panel.states(values))
        self._list_pins()

    def _connect(self) -> None:
        panel = self._panel
        assert panel is not None
        self._on(WINDOW, "Close", lambda event: self._dispatcher.ExitLoop())
        for button, action in (
            ("pin", self._pin), ("remove", self._remove),
            ("preview", self._start_preview), ("colorize", self._start_run),
            ("cancel", self._cancel), ("picture", self._flip),
        ):  # fmt: skip
            self._on(button, "Clicked", self._safely(action))
        self._on("effect", "CurrentIndexChanged", self._safely(self._change_effect))
        self._on("clips", "CurrentIndexChanged", self._safely(self._list_pins))
        for element, event, control in widgets.events(panel):
            self._on(element, event, self._safely(self._edited))
            slider = f"{element}_slider"
            if control.kind == "double" and control.slider:
                self._on(slider, "ValueChanged", self._sliding(control, element, slider))
            if control.kind == "file":
                self._on(f"{element}_browse", "Clicked", self._browsing(element))

    def _on(self, element: str, event: str, action: Callable[[Any], None]) -> None:
        setattr(self._window.On[element], event, action)

    def _safely(self, action: Callable[[], None]) -> Callable[[Any], None]:
        """An event handler whose errors become the status line."""

        def handle(event: Any) -> None:
            try:
                action()
            except BridgeError as problem:
                self._say(str(explain(problem)))

        return handle

    def _sliding(self, control: Any, element: str, slider: str) -> Callable[[Any], None]:
        def slide(event: Any) -> None:
            step = int(self._items[slider].Value)
            shown = widgets.read(self._items, self._panel)[control.name]  # type: ignore[arg-type]
            if widgets.to_slider(control, float(shown)) != step:  # else it was set by the text
                self._items[element].Text = widgets.slider_text(control, step)

        return slide

    def _browsing(self, element: str) -> Callable[[Any], None]:
        def browse(event: Any) -> None:
            path = self._host.fusion.RequestFile()
            if path:
                self._items[element].Text = str(path)

        return browse

    def _say(self, text: str) -> None:
        self._items["status"].Text = text

    # --- what the user does ---

    def _options(self) -> Options:
        """The window's state, kept as the preset that a run without a window takes."""
        assert self._panel is not None
        items = self._items
        chosen = {name: CHOICES[name][int(items[name].CurrentIndex)] for name in CHOICES}
        options = Options(
            effect=self._panel.effect,
            values=widgets.read(items, self._panel),
            clips=self._scopes[int(items["clips"].CurrentIndex)],
            folder=load_preset().folder,
            plate=chosen["plate"],
            plate_format=chosen["plate_format"],
            place=chosen["place"],
            result=chosen["result"],
        )
        options.check()
        save_preset(options)
        return options

    def _change_effect(self) -> None:
        """Another effect has other widgets: the window is built anew."""
        name = self._effects[int(self._items["effect"].CurrentIndex)]
        if self._work is not None or (self._panel is not None and name == self._panel.effect):
            return
        self._panel = self._service.panel(name).result()
        self._put_away()
        self._build()
        self._window.Show()

    def _edited(self) -> None:
        """Show what was made of an edit; elements tell of that, too, and are not heard then."""
        if self._showing:
            return
        assert self._panel is not None
        self._showing = True
        try:
            values = widgets.read(self._items, self._panel)
            widgets.show(self._items, self._panel, values)
            widgets.show_states(self._items, self._panel.states(values))
        finally:
            self._showing = False

    def _clip(self) -> TimelineClip:
        return choose_clips(self._host, self._host.timeline(), "playhead")[0][0]

    def _pin(self) -> None:
        """Pin an exemplar to the frame at the playhead."""
        how = list(SOURCES)[int(self._items["source"].CurrentIndex)]
        path = str(self._host.fusion.RequestFile() or "") if how == "file" else ""
        if how == "file" and not path:
            return
        notes: list[str] = []

        def ended(marker: PinMarker) -> None:
            self._list_pins()
            self._say(" ".join((f"Pinned {marker.pin.label}.", *notes)))

        folder = self._service.settings.cache_root / "exemplars"
        self._start(add_exemplar(self._host, folder, how, path=path, notes=notes), ended)

    def _remove(self) -> None:
        index = int(self._items["exemplars"].CurrentIndex)
        if 0 <= index < len(self._pins):
            remove_marker(self._host.calls, self._clip().item, self._pins[index].data)
            self._list_pins()

    def _list_pins(self) -> None:
        try:
            self._pins = read_pins(self._host.calls, self._clip())
        except BridgeError:
            self._pins = []
        box = self._items["exemplars"]
        box.Clear()
        box.AddItems([marker.pin.label for marker in self._pins] or ["none at the playhead"])

    def _list_scopes(self) -> list[str]:
        timeline = self._host.timeline()
        tracks = range(1, track_count(self._host.calls, timeline) + 1)
        colors = [f"color:{name}" for name in CLIP_COLORS]
        return ["playhead", "selected", "all", *(f"track:{n}" for n in tracks), *colors]

    def _flip(self) -> None:
        """Before and after, by turns."""
        if self._preview is not None:
            self._after = not self._after
            self._show_picture()

    def _show_picture(self) -> None:
        assert self._preview is not None
        path = self._preview.after if self._after else self._preview.before
        self._items["picture"].Icon = self._ui.Icon({"File": str(path)})
        self._items["picture"].Text = "After" if self._after else "Before"

    # --- what takes time ---

    def _start_preview(self) -> None:
        def ended(value: Preview) -> None:
            self._preview, self._after = value, True
            self._show_picture()
            self._say(" ".join((f"Preview of {value.clip}. Click it for before and after.",
                                *value.notes)))  # fmt: skip

        assert self._folder is not None
        self._start(preview(self._host, self._service, self._options(), self._folder), ended)

    def _start_run(self) -> None:
        run = Run.new(self._host, self._service, self._options())

        def ended(value: None) -> None:
            lines = [outcome.sentence for outcome in run.outcomes] + run.notes
            lines += [note for outcome in run.outcomes for note in outcome.notes]
            self._say("\n".join(lines))

        self._start(run.steps(), ended)

    def _start(self, work: Generator[Step, None, Any], ended: Callable[[Any], None]) -> None:
        if self._work is not None:
            work.close()
            raise BridgeError("busy", "Something runs already", hint="Cancel it first.")
        self._work, self._end = work, ended
        self._busy(True)

    def _tick(self, event: Any) -> None:
        """One step of what runs."""
        work = self._work
        if work is None:
            return
        try:
            self._say(next(work).sentence)
        except StopIteration as end:
            self._finish()
            self._end(end.value)
        except Exception as problem:  # Resolve shows no traceback; the window must live on
            self._finish()
            self._say(str(explain(problem)))

    def _cancel(self) -> None:
        if self._work is not None:
            self._stop_work()
            self._say("Cancelled. Finished frames are kept.")

    def _stop_work(self) -> None:
        work = self._work
        self._finish()
        if work is not None:
            work.close()  # puts everything back in Resolve

    def _finish(self) -> None:
        self._work = None
        self._busy(False)

    def _busy(self, busy: bool) -> None:
        for name in ("preview", "colorize", "pin", "remove", "effect"):
            self._items[name].Enabled = not busy
        self._items["cancel"].Enabled = busy
