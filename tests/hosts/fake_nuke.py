"""A Nuke in one module: node graph, knobs, undo and threads by Nuke's rules, over real files.

Only what tests/hosts/nuke_api_compact.json names exists here. Rules kept: the API is for the main
thread; no render and no new node inside a callback or a render; `execute` writes real EXR and PNG
files from the image graph; executeInMainThread queues and executeInMainThreadWithResult swallows
exceptions; undo by steps; setting a knob calls knobChanged.
"""

from __future__ import annotations

import functools
import json
import queue
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
oiio = pytest.importorskip("OpenImageIO")  # what files are read and written with

API = json.loads(Path(__file__).with_name("nuke_api_compact.json").read_text())
BUSY = "I'm already executing something else"


class Knob:
    default: Any = ""

    def __init__(self, name: str, label: str = "", value: Any = None) -> None:
        self._name, self._label = name, label or name
        self._value = self.default if value is None else value
        self._node: Node | None = None
        self._flags: set[int] = set()
        self._tooltip, self._enabled, self._visible = "", True, True
        self._expression = ""

    def name(self) -> str:
        return self._name

    def label(self) -> str:
        return self._label

    def Class(self) -> str:
        return type(self).__name__

    def node(self) -> Node | None:
        return self._node

    def value(self) -> Any:
        return self._value

    def setValue(self, value: Any) -> None:
        self._write(self._take(value))

    def setExpression(self, text: str) -> None:
        self._expression = text

    def setTooltip(self, text: str) -> None:
        self._tooltip = text

    def tooltip(self) -> str:
        return self._tooltip

    def setFlag(self, flag: int) -> None:
        self._flags.add(flag)

    def setEnabled(self, enabled: bool) -> None:
        self._enabled = enabled

    def enabled(self) -> bool:
        return self._enabled

    def setVisible(self, visible: bool) -> None:
        self._visible = visible

    def visible(self) -> bool:
        return self._visible

    def _take(self, value: Any) -> Any:
        return value

    def _write(self, value: Any) -> None:
        was = self._value
        if was == value:
            return
        self._value = value
        if self._node is not None:
            self._node._nuke._step(lambda: setattr(self, "_value", was))
            self._node._nuke._knob_changed(self._node, self)


class Array_Knob(Knob):
    default = 0.0

    def setRange(self, low: float, high: float) -> None:
        assert low < high

    def _take(self, value: Any) -> Any:
        if isinstance(value, str):
            raise TypeError("a number is required")
        return float(value)


class Double_Knob(Array_Knob):
    pass


class Int_Knob(Array_Knob):
    default = 0

    def _take(self, value: Any) -> Any:
        return int(value)


class Boolean_Knob(Array_Knob):
    default = False

    def _take(self, value: Any) -> Any:
        return bool(value)


class Unsigned_Knob(Array_Knob):
    pass


class Enumeration_Knob(Unsigned_Knob):
    def __init__(self, name: str, label: str, items: list[str]) -> None:
        assert isinstance(items, list)
        assert items
        super().__init__(name, label, items[0])
        self._items = items

    def values(self) -> list[str]:
        return list(self._items)

    def setValues(self, items: list[str]) -> None:
        was, self._items = self._items, list(items)
        if self._node is not None:
            self._node._nuke._step(lambda: setattr(self, "_items", was))
        if self._value not in items:
            self._write(items[0])

    def _take(self, value: Any) -> Any:
        if isinstance(value, int):
            return self._items[value]
        if value not in self._items:
            raise ValueError(f"{value} is not an item of {self._name}")
        return value


class String_Knob(Knob):
    def _take(self, value: Any) -> Any:
        if not isinstance(value, str):
            raise TypeError("a string is required")
        return value


class EvalString_Knob(String_Knob):
    pass


class File_Knob(EvalString_Knob):
    pass


class Text_Knob(Knob):
    pass


class Tab_Knob(Knob):
    pass


class Script_Knob(String_Knob):
    def command(self) -> str:
        return str(self._value)

    def execute(self) -> None:
        if self._node is not None and self._value:
            self._node._nuke._run_script(self._node, self, str(self._value))


class PyScript_Knob(Script_Knob):
    pass


_KNOB_TYPES: dict[str, tuple[type[Knob], Any]] = {
    "first": (Int_Knob, 1), "last": (Int_Knob, 1), "origfirst": (Int_Knob, 1),
    "origlast": (Int_Knob, 1), "raw": (Boolean_Knob, False), "autocrop": (Boolean_Knob, False),
    "create_directories": (Boolean_Knob, False), "disable": (Boolean_Knob, False),
    "premultiplied": (Boolean_Knob, False), "proxy": (Boolean_Knob, False),
    "first_frame": (Int_Knob, 1), "last_frame": (Int_Knob, 100), "which": (Double_Knob, 0.0),
    "reload": (Script_Knob, ""), "colorspace": (String_Knob, "default"),
    "file_type": (String_Knob, "exr"), "datatype": (String_Knob, "16 bit half"),
    "colorManagement": (String_Knob, "Nuke"), "workingSpaceLUT": (String_Knob, "linear"),
    "OCIO_config": (String_Knob, "nuke-default"), "number": (Int_Knob, 0),
    "value": (Double_Knob, 1.0), "knobChanged": (String_Knob, ""), "frame": (String_Knob, ""),
}  # fmt: skip
_EXTRA = {"Multiply": ["value"], "Input": ["number"], "Dot": [], "Output": []}
_INPUTS = {"Read": 0, "Input": 0, "Switch": 3, "Root": 0}


class Node:
    def __init__(self, nuke: FakeNuke, kind: str, name: str, parent: Group | None) -> None:
        self._nuke, self._kind, self._name, self._parent = nuke, kind, name, parent
        self._inputs: list[Node | None] = []
        self._knobs: dict[str, Knob] = {}
        self._pos = (0, 0)
        names = API["node_knobs"].get(kind, []) or _EXTRA.get(kind, [])
        for knob in [*names, "disable", "knobChanged"]:
            kind_of, value = _KNOB_TYPES.get(knob, (String_Knob, ""))
            self._own(kind_of(knob, knob, value))

    def __getitem__(self, name: str) -> Knob:
        if name not in self._knobs:
            raise NameError(f"knob {name} does not exist")
        return self._knobs[name]

    def Class(self) -> str:
        return self._kind

    def knob(self, name: str) -> Knob | None:
        return self._knobs.get(name)

    def knobs(self) -> dict[str, Knob]:
        return dict(self._knobs)

    def addKnob(self, knob: Knob) -> None:
        assert knob._name not in self._knobs, f"{knob._name} twice"
        self._own(knob)
        self._nuke._step(lambda: self._knobs.pop(knob._name, None))

    def removeKnob(self, knob: Knob) -> None:
        before = dict(self._knobs)
        del self._knobs[knob._name]
        self._nuke._step(lambda: setattr(self, "_knobs", before))

    def name(self) -> str:
        return self._name

    def fullName(self) -> str:
        inside = self._parent is not None and self._parent._parent is not None
        return f"{self._parent.fullName()}.{self._name}" if inside else self._name  # type: ignore[union-attr]

    def setName(self, name: str) -> None:
        siblings = {node._name for node in self._siblings() if node is not self}
        stem = name.rstrip("0123456789")
        number = 1
        while name in siblings:
            number += 1
            name = f"{stem}{number}"
        self._name = name

    def parent(self) -> Group | None:
        return self._parent

    def inputs(self) -> int:
        return len(self._inputs)

    def input(self, place: int) -> Node | None:
        return self._inputs[place] if place < len(self._inputs) else None

    def setInput(self, place: int, node: Node | None) -> bool:
        assert place < _INPUTS.get(self._kind, 9), f"{self._kind} has no input {place}"
        was = list(self._inputs)
        while len(self._inputs) <= place:
            self._inputs.append(None)
        self._inputs[place] = node
        while self._inputs and self._inputs[-1] is None:
            self._inputs.pop()
        self._nuke._step(lambda: setattr(self, "_inputs", was))
        return True

    def dependent(self) -> list[Node]:
        return [node for node in self._siblings() if self in node._inputs]

    def setXYpos(self, x: int, y: int) -> None:
        self._pos = (x, y)

    def xpos(self) -> int:
        return self._pos[0]

    def ypos(self) -> int:
        return self._pos[1]

    def frameRange(self) -> FrameRange:
        if self._kind == "Read":
            return FrameRange(int(self["first"].value()), int(self["last"].value()))
        source = self.input(0)
        root = self._nuke._root
        if source is None:
            return FrameRange(root["first_frame"].value(), root["last_frame"].value())
        return source.frameRange()

    def _own(self, knob: Knob) -> None:
        knob._node = self
        self._knobs[knob._name] = knob

    def _siblings(self) -> list[Node]:
        return self._parent._children if self._parent is not None else []


class Group(Node):
    def __init__(self, nuke: FakeNuke, kind: str, name: str, parent: Group | None) -> None:
        super().__init__(nuke, kind, name, parent)
        self._children: list[Node] = []

    def __enter__(self) -> Group:
        self._nuke._context.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._nuke._context.pop()

    def node(self, name: str) -> Node | None:
        return next((node for node in self._children if node._name == name), None)

    def nodes(self) -> list[Node]:
        return list(self._children)


class Root(Group):
    pass


class FrameRange:
    def __init__(self, first: int, last: int) -> None:
        self._first, self._last = first, last

    def first(self) -> int:
        return self._first

    def last(self) -> int:
        return self._last


class ProgressTask:
    cancel_all = False
    shown: list[int] = []  # noqa: RUF012 (what a test looks at)

    def __init__(self, name: str) -> None:
        ProgressTask.shown = []

    def setProgress(self, percent: int) -> None:
        assert type(percent) is int
        assert 0 <= percent <= 100
        ProgressTask.shown.append(percent)

    def setMessage(self, text: str) -> None:
        assert isinstance(text, str)

    def isCancelled(self) -> bool:
        return ProgressTask.cancel_all


class Menu:
    def __init__(self) -> None:
        self._commands: dict[str, Any] = {}

    def addMenu(self, name: str, icon: str = "") -> Menu:
        menu: Menu = self._commands.setdefault(name, Menu())
        return menu

    def addCommand(self, name: str, command: Any, icon: str = "") -> None:
        self._commands[name] = command


class FakeNuke(types.ModuleType):
    """Put into sys.modules as `nuke`. gui: False is `nuke -t`. What a test steers begins with
    an underscore, since Nuke has no such name."""

    def __init__(self, *, gui: bool = True, views: tuple[str, ...] = ("main",)) -> None:
        super().__init__("nuke")
        self._main = threading.main_thread()
        self._views, self._frame = list(views), 1
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._messages: list[str] = []
        self._executed: list[tuple[str, int, int]] = []
        self._cancel_at: int | None = None
        self._filename: str | None = None
        self._after_frame: list[tuple[Any, ...]] = []
        self._executing = self._in_callback = False
        self._this: tuple[Node, Knob | None] | None = None
        self._undo: list[tuple[str, list[Callable[[], Any]]]] = []
        self._open_step: list[list[Callable[[], Any]]] = []
        self._undo_off = 0
        self._render_s = 0.0
        self._menus: dict[str, Menu] = {}
        self._paths: list[str] = []
        self._root = Root(self, "Root", "root", None)
        self._context: list[Group] = [self._root]
        self._selected: dict[int, Node] = {}
        self.GUI = gui
        self.NUKE_VERSION_STRING = "16.0v3"
        self.env = {name: False for name in API["env"]}
        for number, name in enumerate(API["constants"]):
            if not hasattr(self, name):
                setattr(self, name, 1 << number)
        for cls in (Double_Knob, Int_Knob, Boolean_Knob, Enumeration_Knob, String_Knob, File_Knob,
                    Text_Knob, Tab_Knob, PyScript_Knob):  # fmt: skip
            setattr(self, cls.__name__, cls)
        self.ProgressTask = ProgressTask
        self.Undo = _Undo(self)
        for name, call in vars(FakeNuke).items():
            if not name.startswith("_"):
                setattr(self, name, self._for_main(call, name))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"Nuke's API has no {name}, or this test double has not")

    # --- the API ---

    def root(self) -> Root:
        return self._root

    def toNode(self, name: str) -> Node | None:
        found: Any = self._root
        for part in name.split("."):
            found = found.node(part) if isinstance(found, Group) else None
        return found if isinstance(found, Node) else None

    def createNode(self, kind: str, knobs: str = "", inpanel: bool = True) -> Node:
        self._must_be_free()
        parent = self._context[-1]
        cls = Group if kind == "Group" else Node
        node = cls(self, kind, "", parent)
        parent._children.append(node)
        node.setName(f"{kind}1")
        chosen = self._selected.get(id(parent))
        if chosen in parent._children and _INPUTS.get(kind, 9):
            node._inputs = [chosen]
        self._selected[id(parent)] = node
        if kind == "Input":
            node["number"]._value = sum(n._kind == "Input" for n in parent._children) - 1
        self._step(lambda: parent._children.remove(node))
        if isinstance(node, Group):
            with node:
                self.createNode("Input")
                self.createNode("Output")
        return node

    def delete(self, node: Node) -> None:
        self._must_be_free()
        siblings = node._siblings()
        place = siblings.index(node)
        siblings.remove(node)
        self._step(lambda: siblings.insert(place, node))

    def allNodes(self) -> list[Node]:
        nodes = list(self._context[-1]._children)
        return nodes[:10] if self.env["indie"] else nodes

    def frame(self, number: int | None = None) -> int:
        if number is not None:
            self._frame = int(number)
        return self._frame

    def views(self) -> list[str]:
        return list(self._views)

    def thisNode(self) -> Node:
        assert self._this is not None
        return self._this[0]

    def thisKnob(self) -> Knob | None:
        assert self._this is not None
        return self._this[1]

    def message(self, text: str) -> None:
        assert self.GUI, "nuke.message without a GUI"
        self._messages.append(text)

    def getFilename(self, message: str, pattern: str | None = None) -> str | None:
        return self._filename

    def menu(self, name: str) -> Menu:
        return self._menus.setdefault(name, Menu())

    def pluginAppendPath(self, path: str) -> None:
        self._paths.append(path)

    def addAfterFrameRender(self, call: Any, args: Any = (), kwargs: Any = None,
                            nodeClass: str = "Write") -> None:  # fmt: skip
        self._after_frame.append((call, args, kwargs or {}, nodeClass))

    def removeAfterFrameRender(self, call: Any, args: Any = (), kwargs: Any = None,
                               nodeClass: str = "Write") -> None:  # fmt: skip
        self._after_frame.remove((call, args, kwargs or {}, nodeClass))

    def execute(self, nameOrNode: Node, start: int, end: int, incr: int = 1,
                views: Any = None, continueOnError: bool = False) -> None:  # fmt: skip
        self._must_be_free()
        node = nameOrNode
        if node["disable"].value():
            raise RuntimeError(f"{node.fullName()} is disabled")
        self._executed.append((node._name, start, end))
        self._executing, began = True, time.perf_counter()
        try:
            for frame in range(start, end + 1, incr):
                for view in views or self._views[:1]:
                    if frame == self._cancel_at:
                        raise RuntimeError("Cancelled")
                    self._write_file(node, frame, view)
                self._tell_frame(node, frame)
        finally:
            self._executing = False
            self._render_s += time.perf_counter() - began

    def executeInMainThread(self, call: Any, args: Any = (), kwargs: Any = None) -> None:
        if threading.current_thread() is self._main:
            raise RuntimeError("executeInMainThread called from the main thread")
        args = args if isinstance(args, tuple) else (args,)
        self._queue.put(lambda: self._swallowing(call, args, kwargs or {}))

    def executeInMainThreadWithResult(self, call: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer: list[Any] = []
        done = threading.Event()

        def run() -> None:
            answer.append(self._swallowing(call, args, kwargs or {}))
            done.set()

        self.executeInMainThread(run)
        done.wait(30)
        return answer[0] if answer else None

    def scriptSave(self, filename: str) -> bool:
        Path(filename).write_text(json.dumps([_saved(node) for node in self._root._children]))
        return True

    def scriptOpen(self, filename: str) -> None:
        self._root._children.clear()
        self._root["name"]._value = filename
        for told in json.loads(Path(filename).read_text()):
            _opened(self, told, self._root)
        _connect(self._root, json.loads(Path(filename).read_text()))

    # --- for tests ---

    def _pump(self, until: Callable[[], bool], timeout_s: float = 30.0) -> float:
        """Nuke's event loop; returns the longest CPU time in seconds that one call took beside
        rendering, which is Nuke's own. No call may wait for anything: half a second is too long."""
        longest, end = 0.0, time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < end, "it did not happen in time"
            try:
                call = self._queue.get(timeout=0.01)
            except queue.Empty:
                continue
            began, worked, rendered = time.perf_counter(), time.thread_time(), self._render_s
            call()
            if self._render_s == rendered:
                longest = max(longest, time.thread_time() - worked)
                assert time.perf_counter() - began < 0.5, "a call waited on the main thread"
        return longest

    def _image(self, node: Node | None, frame: int, view: str) -> Any:
        """What leaves a node: (H, W, 3) float32."""
        assert node is not None, "nothing is connected"
        if node._kind == "Read":
            return _read(node, frame, view)
        if node._kind == "Group":
            assert isinstance(node, Group)
            return self._image(next(n for n in node._children if n._kind == "Output"), frame, view)
        if node._kind == "Input":
            assert node._parent is not None
            return self._image(node._parent.input(int(node["number"].value())), frame, view)
        place = 0
        if node._kind == "Switch":
            place = self._number(node["which"])
        picture = self._image(node.input(place), frame, view)
        return picture * node["value"].value() if node._kind == "Multiply" else picture

    def _undo_one(self) -> str:
        name, changes = self._undo.pop()
        for back in reversed(changes):
            back()
        return name

    # --- inside ---

    def _for_main(self, call: Any, name: str) -> Any:
        @functools.wraps(call)
        def checked(*args: Any, **kwargs: Any) -> Any:
            if not name.startswith("executeInMain"):
                assert threading.current_thread() is self._main, f"nuke.{name} off the main thread"
            return call(self, *args, **kwargs)

        return checked

    def _must_be_free(self) -> None:
        if self._executing or self._in_callback:
            raise RuntimeError(BUSY)

    def _tell_frame(self, node: Node, frame: int) -> None:
        was, self._this = self._this, (node, None)
        now, self._frame = self._frame, frame
        try:
            for call, args, kwargs, kind in list(self._after_frame):
                if kind == node._kind:
                    call(*args, **kwargs)
        finally:
            self._this, self._frame = was, now

    def _knob_changed(self, node: Node, knob: Knob) -> None:
        assert threading.current_thread() is self._main, "a knob was set off the main thread"
        script = node._knobs["knobChanged"]
        if script._value and knob is not script:
            was, self._in_callback = self._in_callback, True
            try:
                self._run_script(node, knob, str(script._value))
            finally:
                self._in_callback = was

    def _run_script(self, node: Node, knob: Knob, text: str) -> None:
        was, self._this = self._this, (node, knob)
        try:
            exec(text, {"nuke": self})
        finally:
            self._this = was

    def _swallowing(self, call: Any, args: Any, kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except Exception:
            traceback.print_exc(file=sys.stdout)
            return None

    def _step(self, back: Callable[[], Any]) -> None:
        if self._undo_off:
            return
        if self._open_step:
            self._open_step[-1].append(back)
        else:
            self._undo.append(("", [back]))

    def _number(self, knob: Knob) -> int:
        if not knob._expression:
            return int(knob.value())
        owner, name = knob._expression.split(".")
        assert owner == "parent"
        assert knob._node is not None
        assert knob._node._parent is not None
        other = knob._node._parent[name]
        if isinstance(other, Enumeration_Knob):
            return other.values().index(other.value())
        return int(other.value())

    def _write_file(self, node: Node, frame: int, view: str) -> None:
        path = Path(_named(node["file"].value(), frame, view))
        if not path.parent.is_dir():
            if not node["create_directories"].value():
                raise RuntimeError(f"{path.parent} does not exist")
            path.parent.mkdir(parents=True)
        pixels = self._image(node.input(0), frame, view)
        kind = node["file_type"].value()
        if kind == "png":
            pixels = _encode(pixels) if not node["raw"].value() else pixels
        spec = oiio.ImageSpec(
            pixels.shape[1], pixels.shape[0], 3, {"exr": "half", "png": "uint8"}[kind]
        )
        spec.attribute("compression", "zips")
        spec.attribute("nuke/render_time", time.time())
        out = oiio.ImageOutput.create(str(path))
        out.open(str(path), spec)
        out.write_image(np.ascontiguousarray(pixels))
        out.close()


class _Undo:
    def __init__(self, nuke: FakeNuke) -> None:
        self._nuke = nuke
        self._names: list[str] = []

    def __call__(self) -> _Undo:
        return self

    def begin(self, name: str = "") -> None:
        self._names.append(name)
        self._nuke._open_step.append([])

    def end(self) -> None:
        name, changes = self._names.pop(), self._nuke._open_step.pop()
        if self._nuke._undo_off:
            return
        if self._nuke._open_step:
            self._nuke._open_step[-1].extend(changes)
        elif changes:
            self._nuke._undo.append((name, changes))

    def disable(self) -> None:
        self._nuke._undo_off += 1

    def enable(self) -> None:
        self._nuke._undo_off -= 1


@contextmanager
def installed(nuke: FakeNuke) -> Iterator[FakeNuke]:
    """Make it importable, and the plugin freshly imported with it."""

    def forget() -> None:
        for name in [n for n in sys.modules if n.startswith("host_plugins.nuke_host")]:
            del sys.modules[name]

    forget()
    sys.modules["nuke"] = nuke
    try:
        yield nuke
    finally:
        del sys.modules["nuke"]
        forget()


def _named(file: str, frame: int, view: str) -> str:
    return (file.replace("%V", view) % frame) if "%0" in file else file


def _read(node: Node, frame: int, view: str) -> Any:
    frame = min(max(frame, int(node["first"].value())), int(node["last"].value()))
    path = _named(node["file"].value(), frame, view)
    found = oiio.ImageInput.open(path)
    if found is None:
        raise RuntimeError(f"{path}: no such file")
    pixels = np.asarray(found.read_image("float"))[..., :3]
    found.close()
    space = str(node["colorspace"].value())
    if node["raw"].value() or space == "linear" or (space == "default" and path.endswith(".exr")):
        return pixels
    return np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def _encode(linear: Any) -> Any:
    linear = linear.clip(0, 1)
    codes = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return codes.astype(np.float32)


def _saved(node: Node) -> dict[str, Any]:
    knobs = [
        [type(k).__name__, k._name, k._label, k._value, getattr(k, "_items", None), k._expression]
        for k in node._knobs.values()
    ]
    return {
        "kind": node._kind, "name": node._name, "knobs": knobs,
        "inputs": [other._name if other else None for other in node._inputs],
        "inside": [_saved(inner) for inner in node._children] if isinstance(node, Group) else [],
    }  # fmt: skip


def _opened(nuke: FakeNuke, told: dict[str, Any], parent: Group) -> None:
    cls = Group if told["kind"] == "Group" else Node
    node = cls(nuke, told["kind"], told["name"], parent)
    parent._children.append(node)
    for kind, name, label, value, items, expression in told["knobs"]:
        if name not in node._knobs:
            made = globals()[kind]
            node._own(made(name, label, items) if items else made(name, label))
        knob = node._knobs[name]
        knob._value, knob._expression = value, expression
    for inner in told["inside"]:
        assert isinstance(node, Group)
        _opened(nuke, inner, node)


def _connect(parent: Group, told: list[dict[str, Any]]) -> None:
    for place, item in enumerate(told):
        node = parent._children[place]
        node._inputs = [parent.node(name) if name else None for name in item["inputs"]]
        if isinstance(node, Group):
            _connect(node, item["inside"])
