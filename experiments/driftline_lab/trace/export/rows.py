"""Events as plain JSON values: what the text formats are made of."""

from __future__ import annotations

import base64
import json
from typing import Any

from driftline_shared.errors import DataError
from driftline_shared.trace.columns import COLUMNS
from driftline_shared.trace.event import TraceEvent

_BYTES = tuple(column.name for column in COLUMNS if column.type == "bytes")


def plain(event: TraceEvent, *, with_bytes: bool = False) -> dict[str, Any]:
    """Every value that is not null, as JSON; bytes are left out, or in base64."""
    found: dict[str, Any] = {}
    for column in COLUMNS:
        value = getattr(event, column.name)
        if value is None:
            continue
        if column.name in _BYTES:
            if with_bytes:
                found[column.name] = base64.b64encode(value).decode()
        else:
            found[column.name] = list(value) if column.type == "ints" else value
    return found


def json_text(document: Any, event: TraceEvent, *, ascii_only: bool = True) -> str:
    """`document`, of `event`, as JSON with sorted keys; DataError for a NaN or an infinity, of
    which JSON has none.
    """
    try:
        return json.dumps(document, sort_keys=True, ensure_ascii=ascii_only, allow_nan=False)
    except ValueError as error:
        raise DataError(
            f"event {event.sequence} cannot be JSON: {error}",
            fix="`driftline lab trace validate` names what is wrong in it.",
        ) from error


def picture_uri(event: TraceEvent) -> str | None:
    """The event's picture as a data URI."""
    if event.picture is None:
        return None
    return "data:image/jpeg;base64," + base64.b64encode(event.picture).decode()
