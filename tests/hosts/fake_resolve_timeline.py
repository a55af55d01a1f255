"""Timelines of the fake Resolve: tracks that hold items, takes, markers, a playhead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import opentimelineio as otio
from fake_resolve_base import Remote, World, api
from fake_resolve_media import Picture
from fake_resolve_media_pool import CLIP_COLORS, Markers, MediaPoolItem

if TYPE_CHECKING:
    from fake_resolve import Project


class Comp(Remote):
    """A Fusion composition: MediaIn1 -> MediaOut1 to begin with."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.__dict__["tools"] = {"MediaIn1": Tool(world, "MediaIn"), "MediaOut1": Tool(world, "")}
        self.__dict__["locked"] = False

    def AddTool(self, kind: str, x: int = 0, y: int = 0) -> Any:
        name = f"{kind}{sum(t.kind == kind for t in self.tools.values()) + 1}"
        self.tools[name] = Tool(self.world, kind)
        return self.tools[name]

    def FindTool(self, name: str) -> Any:
        return self.tools.get(name)

    def GetToolList(self) -> dict[int, Any]:
        return dict(enumerate(self.tools.values(), 1))

    def Lock(self) -> None:
        self.__dict__["locked"] = True

    def Unlock(self) -> None:
        self.__dict__["locked"] = False


class Tool(Remote):
    def __init__(self, world: World, kind: str) -> None:
        super().__init__(world)
        self.__dict__.update(kind=kind, inputs={}, source=None)

    def SetInput(self, name: str, value: Any) -> None:
        self.inputs[name] = value

    def GetInput(self, name: str) -> Any:
        return self.inputs.get(name)

    def ConnectInput(self, name: str, source: Any) -> bool:
        self.inputs[name] = source
        return True


class TimelineItem(Markers):
    def __init__(self, world: World, timeline: Timeline, clip: MediaPoolItem | None) -> None:
        super().__init__(world)
        self.__dict__.update(
            timeline=timeline, clip=clip, uid=world.new_id("i"), grade=1.0, color="", start=0,
            left=0, duration=0, takes=[], take=0, comps=[], enabled=True, ghost=False, speed=1.0,
            properties={"ZoomX": 1.0}, name=clip.properties["Clip Name"] if clip else "Generator",
        )  # fmt: skip

    @property
    def end(self) -> int:
        return int(self.start + self.duration)

    def picture(self, frame: int, *, graded: bool = True) -> Picture:
        clip, left = self.clip, self.left
        if self.take > 1:
            clip, left, _ = self.takes[self.take - 1]
        picture: Picture = clip.picture(left + int((frame - self.start) * self.speed))
        return picture * self.grade if graded else picture

    @api
    def GetName(self) -> str:
        return str(self.name)

    @api
    def GetUniqueId(self) -> str:
        return str(self.uid)

    @api
    def GetStart(self, subframe: bool = False) -> Any:
        return self.start

    @api
    def GetEnd(self, subframe: bool = False) -> Any:
        return self.end

    @api
    def GetDuration(self, subframe: bool = False) -> Any:
        return None if self.ghost else self.duration

    @api
    def GetLeftOffset(self, subframe: bool = False) -> Any:
        return self.left

    @api
    def GetRightOffset(self, subframe: bool = False) -> Any:
        return self.clip.media.count - self.left - self.duration

    @api
    def GetSourceStartFrame(self) -> int:
        return max(0, self.left - 1) if self.world.rules.source_start_low else self.left

    @api
    def GetSourceEndFrame(self) -> int:
        return int(self.left + self.duration * self.speed) - 1

    @api
    def GetMediaPoolItem(self) -> MediaPoolItem | None:
        return self.clip  # type: ignore[no-any-return]

    @api
    def GetTrackTypeAndIndex(self) -> list[Any]:
        for index, track in enumerate(self.timeline.tracks, 1):
            if self in track["items"]:
                return ["video", index]
        return []

    @api
    def GetClipColor(self) -> str:
        return str(self.color)

    @api
    def SetClipColor(self, color: str) -> bool:
        if color not in CLIP_COLORS:
            return False
        if self.clip is not None:  # it lies on generators
            self.__dict__["color"] = color
        return True

    @api
    def ClearClipColor(self) -> bool:
        self.__dict__["color"] = ""
        return True

    @api
    def GetClipEnabled(self) -> bool:
        return bool(self.enabled)

    @api
    def GetProperty(self, key: str = "") -> Any:
        return self.properties.get(key) if key else dict(self.properties)

    @api
    def SetProperty(self, key: str, value: Any = None) -> bool:
        self.properties[key] = value
        return True

    @api
    def AddMarker(
        self, frame: int, color: str, name: str, note: str, duration: int, data: str = ""
    ) -> bool:
        return self.add(frame, color, name, note, duration, data)

    @api
    def GetMarkers(self) -> dict[float, Any]:
        return {key: dict(marker) for key, marker in self.markers.items()}

    @api
    def GetMarkerByCustomData(self, data: str) -> dict[str, Any]:
        return self.by_data(data)

    @api
    def UpdateMarkerCustomData(self, frame: int, data: str) -> bool:
        if float(frame) not in self.markers:
            return False
        self.markers[float(frame)]["customData"] = data
        return True

    @api
    def DeleteMarkerAtFrame(self, frame: int) -> bool:
        return self.drop(lambda key, _: key != float(frame))

    @api
    def DeleteMarkerByCustomData(self, data: str) -> bool:
        return self.drop(lambda _, marker: marker["customData"] != data)

    @api
    def AddTake(self, clip: MediaPoolItem, start: int = 0, end: int = -1) -> bool:
        if not self.takes:
            self.takes.append((self.clip, self.left, self.left + self.duration - 1))
        self.takes.append((clip, start, end))
        return True

    @api
    def GetTakesCount(self) -> int:
        return len(self.takes)

    @api
    def GetSelectedTakeIndex(self) -> int:
        return int(self.take)

    @api
    def GetTakeByIndex(self, index: int) -> dict[str, Any] | None:
        if not 1 <= index <= len(self.takes):
            return None
        clip, start, end = self.takes[index - 1]
        return {"startFrame": start, "endFrame": end, "mediaPoolItem": clip}

    @api
    def SelectTakeByIndex(self, index: int) -> bool:
        if not 1 <= index <= len(self.takes):
            return False
        self.__dict__["take"] = index
        return True

    @api
    def DeleteTakeByIndex(self, index: int) -> bool:
        del self.takes[index - 1]
        self.__dict__["take"] = 1 if self.takes else 0
        return True

    @api
    def FinalizeTake(self) -> bool:
        self.takes.clear()
        return True

    @api
    def CopyGrades(self, items: list[TimelineItem]) -> bool:
        for item in items:
            item.__dict__["grade"] = self.grade
        return True

    @api
    def AddFusionComp(self) -> Comp:
        self.comps.append(Comp(self.world))
        return self.comps[-1]  # type: ignore[no-any-return]

    @api
    def GetFusionCompCount(self) -> int:
        return len(self.comps)

    @api
    def GetFusionCompByIndex(self, index: int) -> Comp | None:
        if self.timeline.project.app.page != "fusion":
            return None
        return self.comps[index - 1]  # type: ignore[no-any-return]


class Timeline(Markers):
    def __init__(self, world: World, project: Project, name: str) -> None:
        super().__init__(world)
        self.__dict__.update(
            project=project, name=name, uid=world.new_id("t"), playhead=86400, moved_at=-1e9,
            shown=86400, tracks=[self._track("Video 1")], counted=1, marks={}, selected=[],
            settings={
                "timelineFrameRate": project.settings["timelineFrameRate"],
                "timelineResolutionWidth": project.settings["timelineResolutionWidth"],
                "timelineResolutionHeight": project.settings["timelineResolutionHeight"],
                "timelineDropFrameTimecode": "0",
                "useCustomSettings": "0",
            },
        )  # fmt: skip

    def _track(self, name: str) -> dict[str, Any]:
        return {"name": name, "enabled": True, "items": []}

    @property
    def start(self) -> int:
        return 3600 * round(float(self.settings["timelineFrameRate"]))

    def place(self, info: dict[str, Any]) -> TimelineItem | None:
        """What AppendToTimeline does with one clip info; None when it refuses."""
        index = int(info.get("trackIndex", 1))
        if not 1 <= index <= len(self.tracks):
            return None
        track = self.tracks[index - 1]
        start = int(info.get("recordFrame", max((i.end for i in track["items"]), default=-1)))
        start = self.start if start < 0 else start
        first, last = int(info["startFrame"]), int(info["endFrame"])
        duration = last - first + (1 if self.world.rules.end_inclusive else 0)
        # media of another rate keep their time, not their frames
        told = float(info["mediaPoolItem"].properties["FPS"])
        duration = round(duration * float(self.settings["timelineFrameRate"]) / told)
        if start < self.start or any(
            i.start < start + duration and start < i.end for i in track["items"]
        ):
            return None
        item = TimelineItem(self.world, self, info["mediaPoolItem"])
        item.__dict__.update(start=start, left=first, duration=duration)
        if self.world.rules.append_lies:
            item.__dict__["ghost"] = True
        track["items"].append(item)
        track["items"].sort(key=lambda i: i.start)
        return item

    def top_item(self, frame: int) -> TimelineItem | None:
        for track in reversed(self.tracks):
            if track["enabled"]:
                for item in track["items"]:
                    if item.start <= frame < item.end and item.enabled:
                        return item  # type: ignore[no-any-return]
        return None

    def shown_frame(self) -> int:
        """Where the viewer really is: it lags behind the playhead."""
        settled = self.world.clock.now() - self.moved_at >= self.world.rules.settle_s
        return int(self.playhead if settled else self.shown)

    @api
    def GetName(self) -> str:
        return str(self.name)

    @api
    def GetUniqueId(self) -> str:
        return str(self.uid)

    @api
    def GetStartFrame(self) -> int:
        return self.start

    @api
    def GetEndFrame(self) -> int:
        return max((i.end for t in self.tracks for i in t["items"]), default=self.start)

    @api
    def GetStartTimecode(self) -> str:
        return "01:00:00:00"

    @api
    def GetTrackCount(self, kind: str) -> int:
        if kind != "video":
            return 0
        return int(self.counted) if self.world.rules.stale_counts else len(self.tracks)

    @api
    def AddTrack(self, kind: str, sub: str = "") -> bool:
        self.tracks.append(self._track(f"Video {len(self.tracks) + 1}"))
        return True

    @api
    def DeleteTrack(self, kind: str, index: int) -> bool:
        if not 1 <= index <= len(self.tracks):
            return False
        del self.tracks[index - 1]
        self.__dict__["counted"] = len(self.tracks)
        return True

    @api
    def GetTrackName(self, kind: str, index: int) -> str:
        return str(self.tracks[index - 1]["name"])

    @api
    def SetTrackName(self, kind: str, index: int, name: str) -> bool:
        self.tracks[index - 1]["name"] = name
        return True

    @api
    def GetIsTrackEnabled(self, kind: str, index: int) -> bool:
        return bool(self.tracks[index - 1]["enabled"])

    @api
    def SetTrackEnable(self, kind: str, index: int, enabled: bool) -> bool:
        if self.project.app.page != "edit":
            return False
        self.tracks[index - 1]["enabled"] = enabled
        return True

    @api
    def GetIsTrackLocked(self, kind: str, index: int) -> bool:
        return False

    @api
    def GetItemListInTrack(self, kind: str, index: int) -> list[TimelineItem] | None:
        if kind != "video" or not 1 <= index <= len(self.tracks):
            return None
        return list(self.tracks[index - 1]["items"]) or None

    @api
    def DeleteClips(self, items: list[TimelineItem], ripple: bool = False) -> bool:
        for track in self.tracks:
            track["items"] = [i for i in track["items"] if i not in items]
        return True

    @api
    def GetSelectedClips(self) -> list[TimelineItem]:
        return list(self.selected)

    @api
    def GetCurrentVideoItem(self) -> TimelineItem | None:
        return self.top_item(self.playhead)

    @api
    def GetCurrentTimecode(self) -> str:
        rate = round(float(self.settings["timelineFrameRate"]))
        seconds, frames = divmod(self.playhead, rate)
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}"

    @api
    def SetCurrentTimecode(self, timecode: str) -> bool:
        if self.project.current is not self:
            return False
        hours, minutes, seconds, frames = (int(word) for word in timecode.split(":"))
        rate = round(float(self.settings["timelineFrameRate"]))
        frame = ((hours * 60 + minutes) * 60 + seconds) * rate + frames
        if frame < self.start or frames >= rate:
            return False
        shown = self.shown_frame()
        self.__dict__.update(shown=shown, playhead=frame, moved_at=self.world.clock.now())
        return True

    @api
    def GetSetting(self, name: str = "") -> Any:
        return self.settings.get(name, "") if name else dict(self.settings)

    @api
    def GetSettings(self) -> Any:
        return dict(self.settings)

    @api
    def SetSetting(self, name: str, value: str) -> bool:
        if name not in self.settings:
            return False
        self.settings[name] = value
        return True

    @api
    def GetMarkInOut(self) -> dict[str, Any]:
        return {"video": dict(self.marks)} if self.marks else {}

    @api
    def SetMarkInOut(self, first: int, last: int, kind: str = "all") -> bool:
        self.__dict__["marks"] = {"in": first, "out": last}
        return True

    @api
    def ClearMarkInOut(self, kind: str = "all") -> bool:
        self.__dict__["marks"] = {}
        return True

    @api
    def AddMarker(
        self, frame: int, color: str, name: str, note: str, duration: int, data: str = ""
    ) -> bool:
        return self.add(frame, color, name, note, duration, data)

    @api
    def GetMarkers(self) -> dict[float, Any]:
        return {key: dict(marker) for key, marker in self.markers.items()}

    @api
    def GrabStill(self) -> Any:
        return self.project.gallery.grab(self.top_item(self.playhead).picture(self.playhead))

    @api
    def Export(self, path: str, kind: str, sub: str) -> bool:
        if kind != "otio":
            return False
        otio.adapters.write_to_file(self.to_otio(), path)
        return Path(path).is_file()

    def to_otio(self) -> otio.schema.Timeline:
        """The timeline as OpenTimelineIO, gaps included."""
        rate = float(self.settings["timelineFrameRate"])

        def span(first: int, count: int) -> otio.opentime.TimeRange:
            return otio.opentime.TimeRange(
                otio.opentime.RationalTime(first, rate), otio.opentime.RationalTime(count, rate)
            )

        result = otio.schema.Timeline(self.name)
        result.global_start_time = otio.opentime.RationalTime(self.start, rate)
        for row in self.tracks:
            track = otio.schema.Track(row["name"], kind=otio.schema.TrackKind.Video)
            at = self.start
            for item in row["items"]:
                if item.start > at:
                    track.append(otio.schema.Gap(source_range=span(0, item.start - at)))
                path = item.clip.path if item.clip else ""
                track.append(
                    otio.schema.Clip(
                        item.name,
                        media_reference=otio.schema.ExternalReference(target_url=path),
                        source_range=span(item.left, item.duration),
                    )
                )
                at = item.end
            result.tracks.append(track)
        return result
