"""Bins and clips of the fake Resolve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fake_resolve_base import Remote, World, api
from fake_resolve_media import Media, Picture

if TYPE_CHECKING:
    from fake_resolve import Project
    from fake_resolve_timeline import Timeline

COLOR_SPACES = {"Project", "Rec.709 Gamma 2.4", "Rec.709 (Scene)", "sRGB", "ACEScct", "Linear"}
PROPERTY_VALUES: dict[str, set[str] | None] = {
    "FPS": {"16", "18", "23.976", "24", "25", "29.97", "30", "48", "50", "59.94", "60"},
    "Input Color Space": COLOR_SPACES,
    "Input Gamma": COLOR_SPACES,
    "Data Level": {"Auto", "Full", "Video"},
    "Alpha mode": {"None", "Straight", "Premultiplied"},
    "Clip Name": None,
}
MARKER_COLORS = [
    "Blue",
    "Cyan",
    "Green",
    "Yellow",
    "Red",
    "Pink",
    "Purple",
    "Fuchsia",
    "Rose",
    "Lavender",
    "Sky",
    "Mint",
    "Lemon",
    "Sand",
    "Cocoa",
    "Cream",
]
CLIP_COLORS = [
    "Orange",
    "Apricot",
    "Yellow",
    "Lime",
    "Olive",
    "Green",
    "Teal",
    "Navy",
    "Blue",
    "Purple",
    "Violet",
    "Pink",
    "Tan",
    "Beige",
    "Brown",
    "Chocolate",
]


class Markers(Remote):
    """Markers of an item or a timeline: one a frame, keys come back as floats."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.__dict__["markers"] = {}

    def add(self, frame: Any, color: Any, name: Any, note: Any, duration: Any, data: Any) -> bool:
        if color not in MARKER_COLORS or float(frame) in self.markers:
            return False
        self.markers[float(frame)] = {
            "color": color,
            "duration": float(duration),
            "note": note,
            "name": name,
            "customData": data,
        }
        return True

    def by_data(self, data: str) -> dict[str, Any]:
        return next((m for m in self.markers.values() if m["customData"] == data), {})

    def drop(self, keep: Any) -> bool:
        before = len(self.markers)
        self.__dict__["markers"] = {k: m for k, m in self.markers.items() if keep(k, m)}
        return len(self.markers) < before


class MediaPoolItem(Remote):
    def __init__(self, world: World, media: Media | None, path: str, kind: str = "Video") -> None:
        super().__init__(world)
        self.__dict__.update(media=media, path=path, kind=kind, metadata={}, uid=world.new_id("m"))
        self.__dict__["properties"] = {
            "File Path": path,
            "File Name": Path(path).name,
            "Clip Name": Path(path).name,
            "Type": kind,
            "FPS": (media.rate or world.rules.import_rate) if media else "24",
            "Frames": str(media.count) if media else "0",
            "Resolution": f"{media.width}x{media.height}" if media else "",
            "Input Color Space": "Project",
            "Data Level": "Auto",
            "Alpha mode": "Straight",
        }

    def picture(self, frame: int) -> Picture:
        assert self.media is not None
        result: Picture = self.media.frame(frame)
        return result

    @api
    def GetName(self) -> str:
        return str(self.properties["Clip Name"])

    @api
    def GetUniqueId(self) -> str:
        return str(self.uid)

    @api
    def GetMediaId(self) -> str:
        return str(self.uid)

    @api
    def GetClipProperty(self, name: str = "") -> Any:
        if name and not self.world.rules.keyed_properties:
            return None
        return self.properties.get(name) if name else dict(self.properties)

    @api
    def SetClipProperty(self, name: str, value: str) -> bool:
        if name not in PROPERTY_VALUES:
            return False
        allowed = PROPERTY_VALUES[name]
        if allowed is not None and value not in allowed:
            return False
        self.properties[name] = value
        return True

    @api
    def GetMetadata(self, name: str = "") -> Any:
        return self.metadata.get(name) if name else dict(self.metadata)

    @api
    def SetMetadata(self, metadata: dict[str, Any]) -> bool:
        self.metadata.update(metadata)
        return True

    @api
    def ReplaceClip(self, path: str) -> bool:
        self.__dict__["media"] = Media(path)
        self.properties["File Path"] = path
        return True


class Folder(Remote):
    def __init__(self, world: World, name: str) -> None:
        super().__init__(world)
        self.__dict__.update(name=name, clips=[], folders=[], uid=world.new_id("f"))

    @api
    def GetName(self) -> str:
        return str(self.name)

    @api
    def GetUniqueId(self) -> str:
        return str(self.uid)

    @api
    def GetClipList(self) -> list[MediaPoolItem]:
        return list(self.clips)

    @api
    def GetSubFolderList(self) -> list[Folder]:
        return list(self.folders)


class MediaPool(Remote):
    def __init__(self, world: World, project: Project) -> None:
        super().__init__(world)
        root = Folder(world, "Master")
        self.__dict__.update(project=project, root=root, current=root)

    @api
    def GetRootFolder(self) -> Folder:
        return self.root  # type: ignore[no-any-return]

    @api
    def GetCurrentFolder(self) -> Folder:
        return self.current  # type: ignore[no-any-return]

    @api
    def SetCurrentFolder(self, folder: Folder) -> bool:
        self.__dict__["current"] = folder
        return True

    @api
    def AddSubFolder(self, folder: Folder, name: str) -> Folder | None:
        if any(f.name == name for f in folder.folders):
            return None
        made = Folder(self.world, name)
        folder.folders.append(made)
        self.__dict__["current"] = made
        return made

    @api
    def ImportMedia(self, infos: list[Any]) -> list[Any]:
        if self.world.rules.import_gives == "none":
            return [None]
        if self.world.rules.import_gives == "empty":
            return []
        made = []
        for info in infos:
            path = self._named(info)
            if path is None:
                continue
            item = MediaPoolItem(self.world, Media(path), path)
            self.current.clips.append(item)
            made.append(item)
        return made

    def _named(self, info: Any) -> str | None:
        path = str(info["FilePath"] if isinstance(info, dict) else info)
        if "%" not in path:
            return path if Path(path).is_file() else None
        first, last = int(info["StartIndex"]), int(info["EndIndex"])
        if not all(Path(path % number).is_file() for number in range(first, last + 1)):
            return None
        stem, _, rest = path.partition(".%")
        width = int(rest[:2])
        return f"{stem}.[{first:0{width}d}-{last:0{width}d}]{Path(path).suffix}"

    @api
    def DeleteClips(self, clips: list[MediaPoolItem]) -> bool:
        for folder in self._folders(self.root):
            folder.__dict__["clips"] = [c for c in folder.clips if c not in clips]
        return True

    def _folders(self, folder: Folder) -> list[Folder]:
        return [folder, *(f for sub in folder.folders for f in self._folders(sub))]

    @api
    def DeleteFolders(self, folders: list[Folder]) -> bool:
        for parent in self._folders(self.root):
            parent.__dict__["folders"] = [f for f in parent.folders if f not in folders]
        return True

    @api
    def AppendToTimeline(self, infos: list[dict[str, Any]]) -> list[Any]:
        timeline = self.project.current
        placed = [timeline.place(info) for info in infos] if timeline else []
        return [item for item in placed if item is not None]

    @api
    def CreateEmptyTimeline(self, name: str) -> Timeline | None:
        return self.project.new_timeline(name)  # type: ignore[no-any-return]

    @api
    def CreateTimelineFromClips(self, name: str, infos: list[dict[str, Any]]) -> Timeline | None:
        timeline = self.project.new_timeline(name)
        for info in infos:
            if timeline.place({"trackIndex": 1, **info}) is None:
                return None
        return timeline  # type: ignore[no-any-return]

    @api
    def DeleteTimelines(self, timelines: list[Timeline]) -> bool:
        return self.project.drop_timelines(timelines)  # type: ignore[no-any-return]
