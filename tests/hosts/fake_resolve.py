"""A double of DaVinci Resolve with the traps of the real one, backed by real media.

Its timelines hold items, its render queue writes frames through OpenImageIO. `Rules` says which
Resolve it is. Every method is a documented one and has the documented number of arguments.
"""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

from fake_resolve_base import BlockedForever, Remote, Rules, World, api
from fake_resolve_media import Media, Picture, write_picture
from fake_resolve_media_pool import MediaPool, MediaPoolItem
from fake_resolve_timeline import Timeline, TimelineItem

PAGES = ("media", "photo", "cut", "edit", "fusion", "color", "fairlight", "deliver")
CODECS = {
    "exr": {"RGB float": "RGBFloat", "RGB half": "RGBHalf", "RGB half (DWAA)": "RGBHalfDWAA"},
    "tif": {"RGB 8 bits": "RGB8", "RGB 16 bits": "RGB16", "RGB 16 bits LZW": "RGB16LZW"},
    "mov": {"Apple ProRes 422 HQ": "ProRes422HQ", "Apple ProRes 4444": "ProRes4444"},
    "mp4": {"H.264": "H264"},
}
FORMATS = {"EXR": "exr", "TIFF": "tif", "QuickTime": "mov", "MP4": "mp4"}
STOCK_PRESETS = {
    "Audio Only": {"format": "mov", "codec": "ProRes422HQ", "video": False},
    "H.264 Master": {"format": "mp4", "codec": "H264", "video": True},
}


class Resolve(Remote):
    EXPORT_OTIO = "otio"
    EXPORT_NONE = "none"

    def __init__(self, world: World | None = None) -> None:
        super().__init__(world or World())
        self.__dict__.update(page="edit", fusion=Remote(self.world))
        self.__dict__["manager"] = ProjectManager(self.world, self)

    @property
    def rules(self) -> Rules:
        return self.world.rules  # type: ignore[no-any-return]

    @api
    def GetProductName(self) -> str:
        return "DaVinci Resolve Studio" if self.rules.studio else "DaVinci Resolve"

    @api
    def GetVersion(self) -> list[Any]:
        return [*self.rules.version, 14, ""]

    @api
    def GetVersionString(self) -> str:
        return ".".join(str(n) for n in self.rules.version)

    @api
    def IsStudio(self) -> bool:
        return bool(self.rules.studio)

    @api
    def Fusion(self) -> Remote:
        return self.fusion  # type: ignore[no-any-return]

    @api
    def GetProjectManager(self) -> ProjectManager:
        return self.manager  # type: ignore[no-any-return]

    @api
    def GetCurrentPage(self) -> str | None:
        return None if self.rules.headless else str(self.page)

    @api
    def OpenPage(self, page: str) -> bool:
        if page not in PAGES:
            return False
        self.__dict__["page"] = page
        for project in self.manager.projects.values():
            for timeline in project.timelines:
                timeline.__dict__["counted"] = len(timeline.tracks)
        return True

    @api
    def ImportRenderPreset(self, path: str) -> bool:
        if not self.rules.preset_import or not Path(path).is_file():
            return False
        name, form = Path(path).stem, "exr" if "EXR" in path else "tif"
        codec = "RGBHalf" if form == "exr" else "RGB16"
        self.manager.current.presets[name] = {"format": form, "codec": codec, "video": True}
        return True

    @api
    def Quit(self) -> bool:
        self.world.lost = True
        return True


class ProjectManager(Remote):
    def __init__(self, world: World, app: Resolve) -> None:
        super().__init__(world)
        self.__dict__.update(app=app, projects={}, saved=0, wedged=False)
        self.__dict__["current"] = self._new("Untitled Project")

    def _new(self, name: str) -> Project:
        self.projects[name] = Project(self.world, self.app, name)
        return self.projects[name]  # type: ignore[no-any-return]

    @api
    def GetCurrentDatabase(self) -> dict[str, str] | None:
        return None if self.wedged else {"DbType": "Disk", "DbName": "Local Database"}

    @api
    def GetCurrentProject(self) -> Project | None:
        return self.current  # type: ignore[no-any-return]

    @api
    def CreateProject(self, name: str, media: str = "") -> Project | None:
        if name in self.projects:
            return None
        self.__dict__["current"] = self._new(name)
        return self.current  # type: ignore[no-any-return]

    @api
    def LoadProject(self, name: str) -> Project | None:
        if name not in self.projects:
            return None
        self.__dict__["current"] = self.projects[name]
        return self.current  # type: ignore[no-any-return]

    @api
    def CloseProject(self, project: Project) -> bool:
        if self.current is project:
            self.__dict__["current"] = None
        return True

    @api
    def DeleteProject(self, name: str) -> bool:
        if self.current is not None and self.current.name == name:
            return False
        return self.projects.pop(name, None) is not None

    @api
    def GetProjectListInCurrentFolder(self) -> list[str]:
        return list(self.projects)

    @api
    def SaveProject(self) -> bool:
        if self.world.rules.headless and self.current.name == "Untitled Project":
            raise BlockedForever("SaveProject on the never-saved project, headless")
        for timeline in self.current.timelines:
            for track in timeline.tracks:
                track["items"] = [item for item in track["items"] if not item.ghost]
        self.__dict__["saved"] += 1
        return True


class Project(Remote):
    def __init__(self, world: World, app: Resolve, name: str) -> None:
        super().__init__(world)
        self.__dict__.update(
            app=app, name=name, uid=world.new_id("p"), timelines=[], current=None, jobs={},
            rendering=None, render_mode=0, gallery=Gallery(world),
            presets=dict(STOCK_PRESETS), deliver={**STOCK_PRESETS["Audio Only"], "keys": {}},
            settings={
                "timelineFrameRate": "24", "timelineResolutionWidth": "96",
                "timelineResolutionHeight": "54", "colorScienceMode": "davinciYRGB",
                "colorSpaceTimeline": "Rec.709 Gamma 2.4",
                "colorSpaceOutput": "Rec.709 Gamma 2.4", "colorSpaceOutputGamma": "",
                "colorSpaceInput": "Rec.709 Gamma 2.4", "colorSpaceInputGamma": "",
                "isAutoColorManage": "0", "rcmPresetMode": "", "colorAcesODT": "",
                "separateColorSpaceAndGamma": "0", "videoDataLevels": "Video",
            },
        )  # fmt: skip
        self.__dict__["pool"] = MediaPool(world, self)

    def new_timeline(self, name: str) -> Timeline | None:
        if any(t.name == name for t in self.timelines):
            return None
        made = Timeline(self.world, self, name)
        self.timelines.append(made)
        self.__dict__["current"] = made  # a new timeline becomes the current one
        return made

    def drop_timelines(self, timelines: list[Timeline]) -> bool:
        self.__dict__["timelines"] = [t for t in self.timelines if t not in timelines]
        if self.current not in self.timelines:
            self.__dict__["current"] = self.timelines[0] if self.timelines else None
        return True

    @api
    def GetName(self) -> str:
        return str(self.name)

    @api
    def GetUniqueId(self) -> str:
        return str(self.uid)

    @api
    def GetMediaPool(self) -> MediaPool:
        return self.pool  # type: ignore[no-any-return]

    @api
    def GetGallery(self) -> Gallery:
        return self.gallery  # type: ignore[no-any-return]

    @api
    def GetTimelineCount(self) -> int:
        return len(self.timelines)

    @api
    def GetTimelineByIndex(self, index: int) -> Timeline | None:
        return self.timelines[index - 1]  # type: ignore[no-any-return]

    @api
    def GetCurrentTimeline(self) -> Timeline | None:
        return self.current  # type: ignore[no-any-return]

    @api
    def SetCurrentTimeline(self, timeline: Timeline) -> bool:
        if timeline not in self.timelines:
            return False
        self.__dict__["current"] = timeline
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

    # --- the Deliver page ---

    @api
    def GetRenderFormats(self) -> dict[str, str]:
        if self.world.rules.version >= (21,):
            return {**FORMATS, "PNG": "png"}
        return dict(FORMATS)

    @api
    def GetRenderCodecs(self, form: str) -> dict[str, str]:
        return dict(CODECS.get(form, {}))

    @api
    def GetCurrentRenderFormatAndCodec(self) -> dict[str, str]:
        return {"format": self.deliver["format"], "codec": self.deliver["codec"]}

    @api
    def SetCurrentRenderFormatAndCodec(self, form: str, codec: str) -> bool:
        if codec not in CODECS.get(form, {}).values():  # descriptions are refused
            return False
        self.deliver.update(format=form, codec=codec)
        return True

    @api
    def GetCurrentRenderMode(self) -> int:
        return int(self.render_mode)

    @api
    def SetCurrentRenderMode(self, mode: int) -> bool:
        self.__dict__["render_mode"] = mode
        return True

    @api
    def GetRenderPresetList(self) -> list[str]:
        return list(self.presets)

    @api
    def LoadRenderPreset(self, name: str) -> bool:
        if name not in self.presets:
            return False
        self.__dict__["deliver"] = {"keys": {}, **self.presets[name]}
        return True

    @api
    def SaveAsNewRenderPreset(self, name: str) -> bool:
        if name in self.presets:
            return False
        self.presets[name] = {**self.deliver, "keys": dict(self.deliver["keys"])}
        return True

    @api
    def DeleteRenderPreset(self, name: str) -> bool:
        return self.presets.pop(name, None) is not None

    @api
    def SetRenderSettings(self, settings: dict[str, Any]) -> bool:
        self.deliver["keys"].update(settings)
        if "MarkIn" in settings and self.current is not None:
            start = self.current.start
            self.current.__dict__["marks"] = {
                "in": settings["MarkIn"] - start,
                "out": settings["MarkOut"] - start,
            }
        return True

    @api
    def AddRenderJob(self) -> str:
        keys = self.deliver["keys"]
        if self.app.page != "deliver" or not keys.get("TargetDir") or self.current is None:
            return ""
        first, last = keys.get("MarkIn", 0), keys.get("MarkOut", -1)
        if keys.get("SelectAllFrames", True):
            first, last = (
                self.current.start,
                max((i.end for t in self.current.tracks for i in t["items"]), default=1) - 1,
            )
        if first < self.current.start or last < first:
            return ""
        job = self.world.new_id("job")
        self.jobs[job] = {
            "state": "Ready", "done": 0, "polls": 0, "first": first, "last": last,
            "timeline": self.current, **self.deliver, "keys": dict(keys),
            "mode": self.render_mode,
        }  # fmt: skip
        return job

    @api
    def GetRenderJobList(self) -> list[dict[str, Any]]:
        return [
            {
                "JobId": name,
                "TargetDir": job["keys"]["TargetDir"],
                "MarkIn": job["first"],
                "MarkOut": job["last"],
                "OutputFilename": self._file(job, job["first"]).name,
            }
            for name, job in self.jobs.items()
        ]

    @api
    def DeleteRenderJob(self, job: str) -> bool:
        return self.jobs.pop(job, None) is not None

    @api
    def DeleteAllRenderJobs(self) -> bool:
        self.jobs.clear()
        return True

    @api
    def StartRendering(self, jobs: list[str] | None = None, interactive: bool = False) -> bool:
        if not jobs or any(name not in self.jobs for name in jobs):
            return False
        self.__dict__["rendering"] = jobs[0]
        self.jobs[jobs[0]]["state"] = "Rendering"
        return True

    @api
    def StopRendering(self) -> None:
        if self.rendering is not None:
            self.jobs[self.rendering]["state"] = "Cancelled"
        self.__dict__["rendering"] = None

    @api
    def IsRenderingInProgress(self) -> bool:
        return self.rendering is not None

    @api
    def GetRenderJobStatus(self, name: str) -> dict[str, Any]:
        job = self.jobs[name]
        if job["state"] == "Rendering":
            self._render_some(job)
        total = job["last"] - job["first"] + 1
        status = {"JobStatus": job["state"], "CompletionPercentage": 100 * job["done"] // total}
        if job["state"] == "Failed":
            status["Error"] = self.world.rules.render_fails
        return status

    def _render_some(self, job: dict[str, Any]) -> None:
        rules, total = self.world.rules, job["last"] - job["first"] + 1
        if rules.render_fails and job["done"] * 2 >= total:
            job["state"], self.__dict__["rendering"] = "Failed", None
            return
        for _ in range(rules.frames_per_poll):
            if job["done"] < total:
                self._write(job, job["first"] + job["done"])
                job["done"] += 1
        if job["done"] == total:
            job["polls"] += 1
            if job["polls"] > rules.lag_polls:  # sits at 100 "Rendering" for a while
                job["state"], self.__dict__["rendering"] = "Complete", None

    def _file(self, job: dict[str, Any], frame: int) -> Path:
        folder = Path(job["keys"]["TargetDir"]) / self.world.rules.render_subfolder
        name = job["keys"].get("CustomName", "render")
        return folder / f"{name}{frame:08d}.{job['format']}"

    def _write(self, job: dict[str, Any], frame: int) -> None:
        path = self._file(job, frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not job["video"]:  # an "Audio Only" base: a file with no video, and everything is True
            with wave.open(str(path.with_suffix(".wav")), "w") as sound:
                sound.setparams((1, 2, 48000, 0, "NONE", ""))
            return
        if job["last"] - frame < self.world.rules.render_drops:
            return
        item = job["timeline"].top_item(frame)
        if item is not None:
            write_picture(path, item.picture(frame))

    @api
    def ExportCurrentFrameAsStill(self, path: str) -> bool:
        if self.app.page != "color" or self.current is None:
            return False
        frame = self.current.shown_frame()
        item = self.current.top_item(frame)
        if item is None:
            return False
        write_picture(Path(path), item.picture(frame))
        return True


class Gallery(Remote):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.__dict__["album"] = GalleryStillAlbum(world)

    def grab(self, picture: Picture) -> GalleryStill:
        still = GalleryStill(self.world, picture)
        self.album.stills.append(still)
        return still

    @api
    def GetCurrentStillAlbum(self) -> GalleryStillAlbum | None:
        return self.album  # type: ignore[no-any-return]


class GalleryStill(Remote):
    def __init__(self, world: World, picture: Picture) -> None:
        super().__init__(world)
        self.__dict__["picture"] = picture


class GalleryStillAlbum(Remote):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.__dict__["stills"] = []

    @api
    def GetStills(self) -> list[GalleryStill]:
        return list(self.stills)

    @api
    def GetLabel(self, still: GalleryStill) -> str:
        return ""

    @api
    def ExportStills(self, stills: list[Any], folder: str, prefix: str, form: str) -> bool:
        if not self.world.rules.gallery_open or self.world.rules.headless:
            return False
        for number, still in enumerate(stills, 1):
            write_picture(Path(folder) / f"{prefix}_1.{number}.{form}", still.picture)
        return True


def add_clip(timeline: Timeline, path: str, *, at: int, left: int, count: int, track: int = 1,
             grade: float = 1.0) -> TimelineItem:  # fmt: skip
    """Put a media file on a track, as an editor would; `at` is relative to the timeline start."""
    while len(timeline.tracks) < track:
        timeline.tracks.append(timeline._track(f"Video {len(timeline.tracks) + 1}"))
    timeline.__dict__["counted"] = len(timeline.tracks)
    clip = next(
        (c for c in timeline.project.pool.root.clips if c.path == path),
        None,
    ) or MediaPoolItem(timeline.world, Media(path), path)
    if clip not in timeline.project.pool.root.clips:
        timeline.project.pool.root.clips.append(clip)
    item = TimelineItem(timeline.world, timeline, clip)
    item.__dict__.update(start=timeline.start + at, left=left, duration=count, grade=grade)
    timeline.tracks[track - 1]["items"].append(item)
    return item


def add_transition(timeline: Timeline, *, at: int, count: int, track: int = 1) -> TimelineItem:
    """A transition, title or generator: listed like a clip, without a media pool item."""
    item = TimelineItem(timeline.world, timeline, None)
    item.__dict__.update(start=timeline.start + at, duration=count, name="Cross Dissolve")
    timeline.tracks[track - 1]["items"].append(item)
    return item
