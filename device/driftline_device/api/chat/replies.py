"""Replies: completions, chunks of a stream, the list of models."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from driftline_device.api.ask.logprobs import logprobs
from driftline_device.api.ask.spoken import Finish, Spoken
from driftline_device.api.ask.streams import LAST_EVENT, event
from driftline_device.api.errors import ApiError
from driftline_device.daemon.snapshot import Snapshot


def fingerprint(*, pair: str, base_model: str, version: int) -> str:
    """Which weights answered: pair, frozen base, adapter version."""
    return f"{pair}-{base_model[:12]}@{version}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """The frame of one reply: what its parts have in common."""

    pair: str
    base_model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, spoken: Spoken) -> dict[str, Any]:
        """A chat.completion."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": spoken.text, "refusal": None},
            "logprobs": _logprobs(spoken),
            "finish_reason": spoken.finish,
        }
        return {
            **self._frame("chat.completion"),
            **self._by(spoken),
            "choices": [choice],
            "usage": spoken.usage(),
        }

    def opening(self) -> dict[str, Any]:
        """The first chunk: the role."""
        return self._chunk({"role": "assistant", "content": ""})

    def more(self, text: str) -> dict[str, Any]:
        """A chunk of text. Which version answers is known for certain only at the end."""
        return self._chunk({"content": text})

    def closing(self, spoken: Spoken) -> dict[str, Any]:
        """The chunk that ends the text, and says which version spoke, how sure of each token."""
        return self._chunk({}, spoken.finish, _logprobs(spoken)) | self._by(spoken)

    def counted(self, spoken: Spoken) -> dict[str, Any]:
        """The chunk of usage that a client may ask for."""
        frame = self._frame("chat.completion.chunk") | self._by(spoken)
        return {**frame, "choices": [], "usage": spoken.usage()}

    def _chunk(
        self,
        delta: dict[str, str],
        finish: Finish | None = None,
        logprobs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return {**self._frame("chat.completion.chunk"), "choices": [choice]}

    def _frame(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.pair}

    def _by(self, spoken: Spoken) -> dict[str, Any]:
        """Which version answered, how sure it was."""
        answer = spoken.answer
        return {
            "system_fingerprint": fingerprint(
                pair=self.pair, base_model=self.base_model, version=answer.version
            ),
            "driftline": spoken.provenance(),
        }


def _logprobs(spoken: Spoken) -> dict[str, Any] | None:
    return {"content": logprobs(spoken.steps), "refusal": None} if spoken.answer.likely else None


class ChatFrames:
    """See `Reply`; `include_usage`: with a chunk of the numbers of tokens at the end."""

    def __init__(self, completion: Completion, *, include_usage: bool) -> None:
        self._completion = completion
        self._include_usage = include_usage

    def whole(self, spoken: Spoken) -> dict[str, Any]:
        """See `Reply`."""
        return self._completion.whole(spoken)

    def opening(self) -> Iterator[bytes]:
        """See `Frames`."""
        yield event(self._completion.opening())

    def more(self, text: str) -> Iterator[bytes]:
        """See `Frames`."""
        yield event(self._completion.more(text))

    def closing(self, spoken: Spoken) -> Iterator[bytes]:
        """See `Frames`."""
        yield event(self._completion.closing(spoken))
        if self._include_usage:
            yield event(self._completion.counted(spoken))
        yield LAST_EVENT

    def failed(self, error: ApiError) -> Iterator[bytes]:
        """See `Frames`."""
        yield event(error.body())


def model(snapshot: Snapshot, created: int) -> dict[str, Any]:
    """The pair as one of OpenAI's models, with the version in force."""
    return {
        "id": snapshot.pair,
        "object": "model",
        "created": created,
        "owned_by": "driftline",
        "system_fingerprint": fingerprint(
            pair=snapshot.pair, base_model=snapshot.base_model, version=snapshot.version
        ),
        "driftline": {"adapter_version": snapshot.version, "base_model": snapshot.base_model},
    }
