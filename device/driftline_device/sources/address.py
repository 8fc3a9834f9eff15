"""What `--source` may say, and which kind of source it names.

photos/                      folder of images, once
stream.jsonl                 data set
clip.mp4                     video file
watch:photos/                folder of images, those that come in too
camera:0  camera:/dev/video2 camera of this device
rtsp://host/path             network camera; http(s):// for an MJPEG stream
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from driftline_shared.errors import DataError

DATASET_SUFFIXES = (".jsonl", ".ndjson")
VIDEO_SUFFIXES = (
    ".avi", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm",
)  # fmt: skip
STREAM_SCHEMES = ("rtsp", "rtsps", "http", "https")

_WATCH, _CAMERA = "watch:", "camera:"


class SourceKind(StrEnum):
    """What a source is read from."""

    FOLDER = "folder"
    DATASET = "dataset"
    VIDEO = "video"
    WATCHED = "watched"
    CAMERA = "camera"
    STREAM = "stream"


LIVE = frozenset({SourceKind.WATCHED, SourceKind.CAMERA, SourceKind.STREAM})
"""Sources without an end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceAddress:
    """`target` is a path, a camera's number or a URL; `shown` is for people, without passwords."""

    kind: SourceKind
    target: str
    shown: str


def parse_address(text: str) -> SourceAddress:
    """What `text` names; DataError if it is no source. Nothing is opened."""
    if not text.strip():
        raise DataError("the name of a source is empty")
    scheme, separator, _ = text.partition("://")
    if separator:
        shown = without_secrets(text)
        if scheme.lower() not in STREAM_SCHEMES:
            raise DataError(f"{shown}: a stream begins with {'://, '.join(STREAM_SCHEMES)}://")
        return SourceAddress(kind=SourceKind.STREAM, target=text, shown=shown)
    for prefix, kind in ((_WATCH, SourceKind.WATCHED), (_CAMERA, SourceKind.CAMERA)):
        if text.startswith(prefix):
            target = text.removeprefix(prefix)
            if not target:
                raise DataError(f"{text} names nothing; for example camera:0 or watch:photos/")
            return SourceAddress(kind=kind, target=target, shown=text)
    return SourceAddress(kind=_kind_of(Path(text)), target=text, shown=text)


def without_secrets(url: str) -> str:
    """`url` without user, password and query: what may stand in logs and errors."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://..."
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _kind_of(path: Path) -> SourceKind:
    if path.is_dir():
        return SourceKind.FOLDER
    suffix = path.suffix.lower()
    if suffix in DATASET_SUFFIXES:
        return SourceKind.DATASET
    if suffix in VIDEO_SUFFIXES:
        return SourceKind.VIDEO
    raise DataError(
        f"{path} is neither a folder of images nor a {DATASET_SUFFIXES[0]} file, a video "
        f"({', '.join(VIDEO_SUFFIXES)}), watch:FOLDER, camera:NUMBER or rtsp://..."
    )
