"""Replies of POST /v1/responses: a response, and the events of one that grows."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from driftline_device.api.ask.logprobs import logprobs
from driftline_device.api.ask.spoken import Spoken
from driftline_device.api.ask.streams import event
from driftline_device.api.errors import ApiError


def _id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"


@dataclass(kw_only=True, slots=True)
class ResponseReply:
    """See `Reply`. `max_output_tokens`: as it was asked."""

    pair: str
    max_output_tokens: int | None = None
    id: str = field(default_factory=lambda: _id("resp"))
    item_id: str = field(default_factory=lambda: _id("msg"))
    created: int = field(default_factory=lambda: int(time.time()))
    _number: int = 0

    def whole(self, spoken: Spoken) -> dict[str, Any]:
        """A response that is complete."""
        usage = spoken.usage()
        is_cut = spoken.finish == "length"
        return {
            **self._response("incomplete" if is_cut else "completed"),
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "output": [self._item(_said(spoken), "incomplete" if is_cut else "completed")],
            "usage": {
                "input_tokens": usage["prompt_tokens"],
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": usage["completion_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage["total_tokens"],
            },
            "driftline": spoken.provenance(),
        }

    def opening(self) -> Iterator[bytes]:
        """See `Frames`."""
        begun = {"response": self._response("in_progress")}
        yield self._event("response.created", begun)
        yield self._event("response.in_progress", begun)
        item = {**self._item(_part(""), "in_progress"), "content": []}
        yield self._event("response.output_item.added", {"output_index": 0, "item": item})
        yield self._event("response.content_part.added", {**self._at(), "part": _part("")})

    def more(self, text: str) -> Iterator[bytes]:
        """See `Frames`."""
        delta = {**self._at(), "delta": text, "logprobs": []}
        yield self._event("response.output_text.delta", delta)

    def closing(self, spoken: Spoken) -> Iterator[bytes]:
        """See `Frames`."""
        whole = self.whole(spoken)
        said = _said(spoken)
        done = {**self._at(), "text": spoken.text, "logprobs": said["logprobs"]}
        yield self._event("response.output_text.done", done)
        part = {**self._at(), "part": said}
        yield self._event("response.content_part.done", part)
        item = {"output_index": 0, "item": whole["output"][0]}
        yield self._event("response.output_item.done", item)
        yield self._event(f"response.{whole['status']}", {"response": whole})

    def failed(self, error: ApiError) -> Iterator[bytes]:
        """See `Frames`."""
        fault = {"code": error.code, "message": str(error), "param": error.param}
        yield self._event("error", fault)

    def _response(self, status: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "max_output_tokens": self.max_output_tokens,
            "metadata": {},
            "model": self.pair,
            "output": [],
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": 0.0,
            "tool_choice": "none",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": None,
        }

    def _item(self, part: dict[str, Any], status: str) -> dict[str, Any]:
        return {
            "id": self.item_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [part],
        }

    def _at(self) -> dict[str, Any]:
        return {"item_id": self.item_id, "output_index": 0, "content_index": 0}

    def _event(self, kind: str, data: dict[str, Any]) -> bytes:
        number, self._number = self._number, self._number + 1
        return event({"type": kind, "sequence_number": number, **data}, kind)


def _said(spoken: Spoken) -> dict[str, Any]:
    return _part(spoken.text, logprobs(spoken.steps))


def _part(text: str, given: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    # Bytes are a list here, never null.
    steps = [{**each, "bytes": each["bytes"] or []} for each in given]
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": steps}
