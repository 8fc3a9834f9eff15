"""What is known of one request while it is on its way."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field

from starlette.types import Scope

KEY = "driftline.request"
"""Of an ASGI scope; copies of the scope share what lies there."""

HEADER = "x-request-id"

_SANE = re.compile(r"[\w.:/+=-]{1,128}", re.A)


@dataclass(slots=True)
class RequestRecord:
    """`id`: the client's own if it sent one. `status` 0: none was sent. `code`: of an error."""

    id: str = field(default_factory=lambda: f"req_{uuid.uuid4().hex}")
    status: int = 0
    code: str = ""


def begin(scope: Scope) -> RequestRecord:
    """The record of a request that has just come."""
    given = dict(scope["headers"]).get(HEADER.encode(), b"").decode("latin-1")
    record = RequestRecord(given) if _SANE.fullmatch(given) else RequestRecord()
    scope[KEY] = record
    return record


def note_error(scope: Scope, code: str) -> None:
    """Remember which error a request got."""
    record = scope.get(KEY)
    if isinstance(record, RequestRecord):
        record.code = code
