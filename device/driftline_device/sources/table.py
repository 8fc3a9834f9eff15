"""Which source reads which address: an explicit table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from driftline_device.sources.address import LIVE, SourceKind, parse_address
from driftline_device.sources.arrivals import FolderSettings
from driftline_device.sources.camera import CameraSource
from driftline_device.sources.dataset import DatasetSource
from driftline_device.sources.folder import FolderSource
from driftline_device.sources.frames import FrameSettings
from driftline_device.sources.source import MAX_PIXELS, Source
from driftline_device.sources.video import VideoSource
from driftline_device.sources.watched import WatchedFolderSource
from driftline_shared.errors import ConfigError


def open_all(
    texts: Sequence[str | Path],
    *,
    question: str = "",
    frames: FrameSettings | None = None,
    folder: FolderSettings | None = None,
    max_pixels: int = MAX_PIXELS,
) -> list[Source]:
    """All sources, in order; ConfigError where one would never be reached. See `open_source`."""
    for text, after in pairwise(texts):
        address = parse_address(str(text))
        if address.kind in LIVE:
            after_it = parse_address(str(after)).shown
            raise ConfigError(f"{address.shown} never ends, so {after_it} after it is never read")
    return [
        open_source(text, question=question, frames=frames, folder=folder, max_pixels=max_pixels)
        for text in texts
    ]


def open_source(
    text: str | Path,
    *,
    question: str = "",
    frames: FrameSettings | None = None,
    folder: FolderSettings | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Source:
    """The source that `text` names; DataError if it names none, ConfigError if a part is missing.

    `frames`: of videos and cameras. `folder`: of watched folders.
    """
    address = parse_address(str(text))
    path = Path(address.target)
    match address.kind:
        case SourceKind.DATASET:
            return DatasetSource(path, max_pixels=max_pixels)
        case SourceKind.FOLDER:
            return FolderSource(path, question=question, max_pixels=max_pixels)
        case SourceKind.WATCHED:
            return WatchedFolderSource(
                path, question=question, settings=folder, max_pixels=max_pixels
            )
        case SourceKind.VIDEO:
            return VideoSource(path, question=question, frames=frames, max_pixels=max_pixels)
        case SourceKind.CAMERA | SourceKind.STREAM:
            return CameraSource(address, question=question, frames=frames, max_pixels=max_pixels)
