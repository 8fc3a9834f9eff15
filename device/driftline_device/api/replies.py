"""Replies: completions, chunks of a stream, the list of models."""

from __future__ import annotations

import json
import math
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Literal

from driftline_device.daemon.snapshot import Snapshot
from driftline_device.runtime.runtime import Answer

Finish = Literal["stop", "length"]


def fingerprint(*, pair: str, base_model: str, version: int) -> str:
    """Which weights answered: pair, frozen base, adapter version."""
    return f"{pair}-{base_model[:12]}@{version}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """An answer as the client gets it: `text` may be cut to what the client allowed."""

    text: str
    finish: Finish
    num_tokens: int
    answer: Answer

    def usage(self) -> dict[str, int]:
        """Tokens read (visual ones included) and written."""
        read = self.answer.num_prompt_tokens
        return {
            "prompt_tokens": read,
            "completion_tokens": self.num_tokens,
            "total_tokens": read + self.num_tokens,
        }


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
            "logprobs": None,
            "finish_reason": spoken.finish,
        }
        return {
            **self._frame("chat.completion"),
            **self._by(spoken.answer),
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
        """The chunk that ends the text, and says which version spoke."""
        return self._chunk({}, spoken.finish) | self._by(spoken.answer)

    def counted(self, spoken: Spoken) -> dict[str, Any]:
        """The chunk of usage that a client may ask for."""
        frame = self._frame("chat.completion.chunk") | self._by(spoken.answer)
        return {**frame, "choices": [], "usage": spoken.usage()}

    def _chunk(self, delta: dict[str, str], finish: Finish | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._frame("chat.completion.chunk"), "choices": [choice]}

    def _frame(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.pair}

    def _by(self, answer: Answer) -> dict[str, Any]:
        """Which version answered, how sure it was."""
        scores = {kind: score for kind, score in answer.scores.items() if math.isfinite(score)}
        return {
            "system_fingerprint": fingerprint(
                pair=self.pair, base_model=self.base_model, version=answer.version
            ),
            "driftline": {"adapter_version": answer.version, "uncertainty": scores},
        }


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


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(data, separators=(",", ":"), allow_nan=False).encode() + b"\n\n"


LAST_EVENT = b"data: [DONE]\n\n"
