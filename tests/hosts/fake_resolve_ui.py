"""Fusion's UIManager for tests: elements with properties, events that a test fires, a timer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fake_resolve_base import World

KINDS = [
    *("Label", "Button", "CheckBox", "ComboBox", "SpinBox", "DoubleSpinBox", "Slider"),
    *("LineEdit", "TextEdit", "HGroup", "VGroup", "Timer"),
]


class Element:
    """properties are attributes, as in Resolve."""

    def __init__(self, kind: str, properties: dict[str, Any], children: list[Any]) -> None:
        self.__dict__.update(
            kind=kind, children=children, Enabled=True, Hidden=False, Text="", Value=0,
            Checked=False, CurrentIndex=-1, Items=[], fire=lambda event: None,
        )  # fmt: skip
        self.__dict__.update(properties)

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value
        told = {"CurrentIndex": "CurrentIndexChanged", "Value": "ValueChanged"}.get(name)
        if told:  # sets by program are told too, here even those that change nothing
            self.fire(told)

    def AddItems(self, texts: list[str]) -> None:
        self.Items.extend(texts)
        if self.CurrentIndex < 0 and self.Items:
            self.CurrentIndex = 0

    def AddItem(self, text: str) -> None:
        self.AddItems([text])

    def Clear(self) -> None:
        self.Items.clear()
        self.__dict__["CurrentIndex"] = -1

    def Start(self) -> None:
        self.__dict__["running"] = True

    def Stop(self) -> None:
        self.__dict__["running"] = False

    def all(self) -> list[Element]:
        return [self, *(e for child in self.children for e in child.all())]


class Handlers:
    """`window.On.button.Clicked = function`, for any name."""

    def __init__(self) -> None:
        self.__dict__["named"] = {}

    def __getattr__(self, name: str) -> Any:
        return self.named.setdefault(name, Handlers())

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self.named[name] = value


class Window:
    def __init__(self, properties: dict[str, Any], children: list[Element]) -> None:
        self.ID = properties["ID"]
        self.On = Handlers()
        self.shown = False
        self.elements = [e for child in children for e in child.all()]
        for element in self.elements:
            if "ID" in element.__dict__:
                element.__dict__["fire"] = self._firing(element)

    def _firing(self, element: Element) -> Callable[[str], None]:
        return lambda event: self.fire(element.ID, event)

    def fire(self, name: str, event: str) -> None:
        handler = self.On.named.get(name)
        action = handler.named.get(event) if handler is not None else None
        if callable(action):
            action({"who": name})

    def GetItems(self) -> dict[str, Element]:
        return {e.ID: e for e in self.elements if "ID" in e.__dict__}

    def Show(self) -> None:
        self.shown = True

    def Hide(self) -> None:
        self.shown = False

    def click(self, name: str) -> None:
        """As a user: a greyed-out button does nothing."""
        if self.GetItems()[name].Enabled:
            self.fire(name, "Clicked")


class Manager:
    """fusion.UIManager; build functions by kind."""

    def __init__(self) -> None:
        self.windows: list[Window] = []

    def FindWindow(self, name: str) -> Window | None:
        """Hidden windows, whose script has ended, are found too."""
        return next((w for w in self.windows if name == w.ID), None)

    def Icon(self, properties: dict[str, Any]) -> dict[str, Any]:
        return properties

    def __getattr__(self, kind: str) -> Any:
        if kind not in KINDS:
            raise AttributeError(kind)

        def build(*arguments: Any) -> Element:
            properties: dict[str, Any] = {}
            children: list[Any] = []
            for argument in arguments:
                if isinstance(argument, dict):
                    properties = argument
                else:
                    children = argument
            return Element(kind, properties, children)

        return build


class Dispatcher:
    """bmd.UIDispatcher; `script` plays the user: it is called before every timer tick."""

    def __init__(self, manager: Manager, script: Callable[[Dispatcher], None]) -> None:
        self.manager = manager
        self.script = script
        self.On = Handlers()
        self.running = False

    @property
    def window(self) -> Window:
        return next(w for w in reversed(self.manager.windows) if w.shown)

    def AddWindow(self, properties: dict[str, Any], children: list[Element]) -> Window:
        self.manager.windows.append(Window(properties, children))
        return self.manager.windows[-1]

    def RunLoop(self) -> None:
        self.running = True
        deadline = time.monotonic() + 60
        while self.running:
            if time.monotonic() > deadline:
                raise AssertionError("the window was never closed")
            time.sleep(0.001)  # a timer has an interval, in which jobs go on
            self.script(self)
            tick = self.On.named.get("Timeout")
            if tick is not None and self.running:
                tick({"who": "tick"})

    def ExitLoop(self, code: Any = None) -> None:
        self.running = False


class Bmd:
    def __init__(self, script: Callable[[Dispatcher], None]) -> None:
        self.script = script

    def UIDispatcher(self, manager: Manager) -> Dispatcher:
        return Dispatcher(manager, self.script)


class Fusion:
    """The global `fusion`: on the free edition, asking for UIManager opens an advertisement."""

    def __init__(self, world: World, files: list[str] | None = None) -> None:
        self.world = world
        self.files = files or []
        self.manager = Manager()

    @property
    def UIManager(self) -> Manager | None:
        rules = self.world.rules
        if not rules.studio and rules.version >= (19, 1):
            self.world.modal = True
            return None
        return self.manager

    def RequestFile(self) -> str | None:
        return self.files.pop(0) if self.files else None
