"""Every source by the addresses that name it: the one table. A new source is a file and a line.

photos/                      folder of images, once
stream.jsonl                 data set
clip.mp4                     video file
watch:photos/                folder of images, those that come in too
camera:0  camera:/dev/video2 camera of this device
rtsp://host/path             network camera; http(s):// for an MJPEG stream
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from driftline_device.sources.address import SourceAddress, without_secrets
from driftline_device.sources.arrivals import FolderSettings
from driftline_device.sources.camera import CameraSource
from driftline_device.sources.clips import ClipPlan, ClipSource, View
from driftline_device.sources.dataset import DatasetSource
from driftline_device.sources.folder import FolderSource
from driftline_device.sources.frames import FrameSettings
from driftline_device.sources.source import MAX_PIXELS, Source
from driftline_device.sources.video import VideoSource
from driftline_device.sources.watched import WatchedFolderSource
from driftline_shared.errors import ConfigError, DataError

DATASET_SUFFIXES = (".jsonl", ".ndjson")
VIDEO_SUFFIXES = (
    ".avi", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm",
)  # fmt: skip
STREAM_SCHEMES = ("rtsp", "rtsps", "http", "https")


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSettings:
    """What a source may need beside its address. `frames`: of videos and cameras; `folder`: of
    watched folders. `clips`: what the pair reads instead of single pictures.
    """

    question: str = ""
    frames: FrameSettings = field(default_factory=FrameSettings)
    folder: FolderSettings = field(default_factory=FolderSettings)
    max_pixels: int = MAX_PIXELS
    clips: ClipPlan | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceType:
    """`names`: whether an address is of this type. `prefix`: cut off it. `live`: without an end."""

    names: Callable[[str], bool]
    open: Callable[[SourceAddress, SourceSettings], Source]
    prefix: str = ""
    live: bool = False


def _camera(address: SourceAddress, given: SourceSettings) -> Source:
    return CameraSource(
        address, question=given.question, frames=given.frames, max_pixels=given.max_pixels
    )


SOURCES: dict[str, SourceType] = {
    "stream": SourceType(names=lambda text: "://" in text, open=_camera, live=True),
    "watched": SourceType(
        names=lambda text: text.startswith("watch:"),
        open=lambda address, given: WatchedFolderSource(
            Path(address.target),
            question=given.question,
            settings=given.folder,
            max_pixels=given.max_pixels,
        ),
        prefix="watch:",
        live=True,
    ),
    "camera": SourceType(
        names=lambda text: text.startswith("camera:"), open=_camera, prefix="camera:", live=True
    ),
    "folder": SourceType(
        names=lambda text: Path(text).is_dir(),
        open=lambda address, given: FolderSource(
            Path(address.target), question=given.question, max_pixels=given.max_pixels
        ),
    ),
    "dataset": SourceType(
        names=lambda text: text.lower().endswith(DATASET_SUFFIXES),
        open=lambda address, given: DatasetSource(
            Path(address.target), max_pixels=given.max_pixels, clips=given.clips
        ),
    ),
    "video": SourceType(
        names=lambda text: text.lower().endswith(VIDEO_SUFFIXES),
        open=lambda address, given: VideoSource(
            Path(address.target),
            question=given.question,
            frames=given.frames,
            max_pixels=given.max_pixels,
        ),
    ),
}
"""In the order in which they are asked: the first that knows an address reads it."""


def parse_address(text: str) -> SourceAddress:
    """What `text` names; DataError if it is no source. Nothing is opened."""
    if not text.strip():
        raise DataError("the name of a source is empty")
    scheme, separator, _ = text.partition("://")
    shown = without_secrets(text) if separator else text
    if separator and scheme.lower() not in STREAM_SCHEMES:
        raise DataError(f"{shown}: a stream begins with {'://, '.join(STREAM_SCHEMES)}://")
    for kind, source in SOURCES.items():
        if source.names(text):
            target = text.removeprefix(source.prefix)
            if not target:
                raise DataError(f"{text} names nothing; for example camera:0 or watch:photos/")
            return SourceAddress(kind=kind, target=target, shown=shown)
    raise DataError(
        f"{text} is neither a folder of images nor a {DATASET_SUFFIXES[0]} file, a video "
        f"({', '.join(VIDEO_SUFFIXES)}), watch:FOLDER, camera:NUMBER or rtsp://..."
    )


def is_live(text: str) -> bool:
    """Whether the source that `text` names has no end."""
    return SOURCES[parse_address(text).kind].live


def open_all(texts: Sequence[str | Path], settings: SourceSettings | None = None) -> list[Source]:
    """All sources, in order; ConfigError where one would never be reached. See `open_source`."""
    for text, after in pairwise(map(str, texts)):
        if is_live(text):
            first, second = parse_address(text).shown, parse_address(after).shown
            raise ConfigError(f"{first} never ends, so {second} after it is never read")
    return [open_source(text, settings) for text in texts]


def open_source(
    text: str | Path, settings: SourceSettings | None = None, *, view: View | None = None
) -> Source:
    """The source that `text` names; DataError if it names none, ConfigError if a part is
    missing. `view`: the part of each picture that clips are made of.
    """
    address, given = parse_address(str(text)), settings or SourceSettings()
    source = SOURCES[address.kind].open(address, given)
    if given.clips is None or address.kind == "dataset":  # whose rows name their clips
        return source
    return ClipSource(source, given.clips, view=view)
