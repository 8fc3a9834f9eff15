"""MCAP, for Foxglove and Rerun: a channel a kind of event, JSON messages at their wall time.

Pictures are messages of Foxglove's own `foxglove.CompressedImage`, so that a viewer shows them
(https://docs.foxglove.dev/docs/visualization/message-schemas/compressed-image, read 2026-11).
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from driftline_lab.trace.export.rows import json_text, plain
from driftline_shared.errors import DataError
from driftline_shared.program.extras import needs_extra
from driftline_shared.trace.columns import COLUMNS
from driftline_shared.trace.event import EventKind, TraceEvent
from driftline_shared.trace.manifest import as_json
from driftline_shared.trace.reader import Trace

FILE = "trace.mcap"
PICTURES = "/driftline/picture"

_JSON_TYPES: dict[str, dict[str, Any]] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "text": {"type": "string"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "ints": {"type": "array", "items": {"type": "integer"}},
    "scores": {"type": "object", "additionalProperties": {"type": "number"}},
}

_EVENT_SCHEMA = {
    "type": "object",
    "properties": {
        column.name: {**_JSON_TYPES[column.type], "description": column.meaning}
        for column in COLUMNS
    },
    "required": [column.name for column in COLUMNS if column.required],
}

_TIME = {"type": "object", "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}}}

_PICTURE_SCHEMA = {
    "type": "object",
    "properties": {
        "timestamp": _TIME,
        "frame_id": {"type": "string"},
        "data": {"type": "string", "contentEncoding": "base64"},
        "format": {"type": "string"},
    },
}


def topic(kind: EventKind) -> str:
    """The channel of a kind of event."""
    return f"/driftline/{kind}"


def export(trace: Trace, out: Path) -> int:
    """Write `out`/trace.mcap; how many events it holds. DataError for a time before 1970."""
    with needs_extra("exporting to MCAP", "lab"):
        from mcap.writer import Writer
    out.mkdir(parents=True, exist_ok=True)
    num_events = 0
    with (out / FILE).open("wb") as file:
        writer = Writer(file)
        writer.start(profile="", library="driftline")
        manifest = as_json(trace.manifest)
        writer.add_metadata("driftline.manifest", {"manifest": json.dumps(manifest)})
        events = _register(writer, "driftline.Event", _EVENT_SCHEMA)
        pictures = _register(writer, "foxglove.CompressedImage", _PICTURE_SCHEMA)
        channels = {
            kind: writer.register_channel(
                topic=topic(kind), message_encoding="json", schema_id=events
            )
            for kind in EventKind
        }
        picture_channel = writer.register_channel(
            topic=PICTURES, message_encoding="json", schema_id=pictures
        )
        for event in trace.events():
            time_ns = _nanoseconds(event)
            messages = [(channels[event.kind], plain(_without_picture(event), with_bytes=True))]
            if event.picture is not None:
                messages.append((picture_channel, _picture(event, time_ns)))
            for channel, message in messages:
                writer.add_message(
                    channel_id=channel,
                    log_time=time_ns,
                    publish_time=time_ns,
                    sequence=event.sequence & 0xFFFF_FFFF,
                    data=json_text(message, event).encode(),
                )
            num_events += 1
        writer.finish()
    return num_events


def _register(writer: Any, name: str, schema: dict[str, Any]) -> int:
    data = json.dumps(schema, sort_keys=True).encode()
    return int(writer.register_schema(name=name, encoding="jsonschema", data=data))


def _nanoseconds(event: TraceEvent) -> int:
    if not 0 <= event.wall_unix_s < (1 << 63) / 1e9:
        raise DataError(
            f"event {event.sequence}: MCAP has no time for {event.wall_unix_s} s after 1970"
        )
    return int(event.wall_unix_s * 1e9)


def _without_picture(event: TraceEvent) -> TraceEvent:
    return event if event.picture is None else replace(event, picture=None)


def _picture(event: TraceEvent, time_ns: int) -> dict[str, Any]:
    assert event.picture is not None
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return {
        "timestamp": {"sec": seconds, "nsec": nanoseconds},
        "frame_id": event.device or "",
        "data": base64.b64encode(event.picture).decode(),
        "format": "jpeg",
    }
