"""Settings of recording. Needs no pyarrow."""

from __future__ import annotations

from pathlib import Path

from driftline_shared.program.section import Section, setting


class TraceSettings(Section):
    """What is recorded, and when it is on disk. Times in seconds."""

    folder: Path | None = setting(None, "where events are recorded; not set: nowhere")
    licence: str = setting("", "of the recorded data, for the manifest")
    part_rows: int = setting(4_096, "a part ends after so many events", ge=1, le=1 << 20)
    part_bytes: int = setting(64 << 20, "or after so many bytes", ge=1 << 12, le=1 << 30)
    part_s: float = setting(3_600.0, "or after so long", gt=0)
    batch_rows: int = setting(
        64, "events are written to disk after so many: a crash loses less than that", ge=1, le=4_096
    )
    batch_s: float = setting(1.0, "or after so long", ge=0)
    queue_bytes: int = setting(
        64 << 20, "of events that wait for the disk; past it events are left out", ge=1 << 16
    )
