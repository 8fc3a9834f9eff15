"""Every format a trace is exported to. A new one is a file and a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from driftline_lab.trace.export import huggingface, label_studio, mcap, webdataset
from driftline_shared.trace.reader import Trace

Exporter = Callable[[Trace, Path], int]
"""Writes a trace into a new folder; how many events are in it."""

EXPORTERS: dict[str, Exporter] = {
    "huggingface": huggingface.export,
    "webdataset": webdataset.export,
    "mcap": mcap.export,
    "label-studio": label_studio.export,
}
