"""Where spans belong, reckoned from names that both sides know: nothing of it travels or is stored.

    sample     trace sha256("sample" id)          span of the device that made it
    version    trace sha256("version" line N)     all rounds that were to make version N of a line
    round      in that trace                      span of one such round
    release    in that trace                      span of the one that released it

A trace id of 16 bytes and a span id of 8 are the first bytes of a digest: two of a million collide
with a chance below 1e-26. See docs/adr/0041-trace-contexts-are-reckoned.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpanContext:
    """A span's place: `trace_id` of 16 bytes, `span_id` of 8, neither zero."""

    trace_id: int
    span_id: int


def sample_context(sample_id: bytes) -> SpanContext:
    """Of the device's span that made the sample: the root of its trace."""
    return SpanContext(_number(16, b"sample", sample_id), _number(8, b"sample root", sample_id))


def round_context(line: str, version: int, round_id: str) -> SpanContext:
    """Of the span of a round that was to make `version` of `line`."""
    return SpanContext(_version_trace(line, version), _number(8, b"round", round_id.encode()))


def release_context(line: str, version: int) -> SpanContext:
    """Of the span that released `version` of `line`."""
    name = f"{line} {version}".encode()
    return SpanContext(_version_trace(line, version), _number(8, b"release", name))


def _version_trace(line: str, version: int) -> int:
    return _number(16, b"version", f"{line} {version}".encode())


def _number(num_bytes: int, *parts: bytes) -> int:
    digest = hashlib.sha256(b"\0".join((b"driftline", *parts))).digest()
    return int.from_bytes(digest[:num_bytes], "big") or 1  # zero is no id
