"""Which source reads which path: an explicit table."""

from __future__ import annotations

from pathlib import Path

from driftline_device.sources.dataset import DatasetSource
from driftline_device.sources.folder import FolderSource
from driftline_device.sources.source import MAX_PIXELS, Source
from driftline_shared.errors import DataError

DATASET_SUFFIXES = (".jsonl", ".ndjson")


def open_source(path: Path, *, question: str = "", max_pixels: int = MAX_PIXELS) -> Source:
    """A folder of images or a JSONL data set; DataError if `path` is neither."""
    if path.is_dir():
        return FolderSource(path, question=question, max_pixels=max_pixels)
    if path.suffix.lower() in DATASET_SUFFIXES:
        return DatasetSource(path, max_pixels=max_pixels)
    raise DataError(f"{path} is neither a folder of images nor a {DATASET_SUFFIXES[0]} file")
