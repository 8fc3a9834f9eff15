"""Probabilities of an answer's tokens, as OpenAI writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from driftline_device.runtime.likely import LikelyStep, Token


def logprobs(steps: Sequence[LikelyStep]) -> list[dict[str, Any]]:
    """One entry a token: its text, that as bytes (null for a token that is no text by itself), its
    logarithm, and the most likely tokens of its step.
    """
    return [
        {**_entry(step.written), "top_logprobs": [_entry(each) for each in step.likely]}
        for step in steps
    ]


def _entry(token: Token) -> dict[str, Any]:
    given = None if token.is_name else list(token.text.encode("utf-8", "replace"))
    return {"token": token.text, "logprob": token.log_p, "bytes": given}
