"""What a connection is told that asked nothing that could be answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

RETRY_AFTER_S = 1
"""Seconds a client is asked to wait where there is no room."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """`status` of HTTP; `code`: a word for programs; `sentence` for people."""

    status: int
    code: str
    sentence: str


Wording = Callable[[Refusal], tuple[str, bytes]]
"""The content type and the body of a refusal."""


def plain(refusal: Refusal) -> tuple[str, bytes]:
    """A refusal as plain text."""
    return "text/plain; charset=utf-8", f"{refusal.sentence}\n".encode()


def raw(refusal: Refusal, wording: Wording) -> bytes:
    """A whole reply that closes its connection: there is no request that it could belong to."""
    kind, body = wording(refusal)
    lines = [
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}",
        f"content-type: {kind}",
        f"content-length: {len(body)}",
        "connection: close",
    ]
    if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
        lines.append(f"retry-after: {RETRY_AFTER_S}")
    return "\r\n".join([*lines, "", ""]).encode() + body
