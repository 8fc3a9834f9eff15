"""The body of POST /v1/chat/completions, as far as it matters here; other fields are passed over.

Answers are greedy: temperature, top_p, seed and penalties are checked and without effect.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from driftline_device.api.ask.shape import MOST_STOP_CHARS, MOST_STOPS
from driftline_device.api.wording import shown, wrong
from driftline_device.runtime.likely import MOST_LIKELY

MOST_MESSAGES = 256


class Body(BaseModel):
    """Base of bodies: a text is no number, and 1 is not true."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class StreamOptions(Body):
    """`include_usage`: one more chunk at the end, with the numbers of tokens."""

    include_usage: bool | None = None


class ChatBody(Body):
    """A chat completion."""

    model: str | None = None
    messages: list[Any] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2, allow_inf_nan=False)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2, allow_inf_nan=False)
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_LIKELY)
    stop: Any = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    function_call: Any = None
    logit_bias: dict[str, Any] | None = None
    modalities: list[Any] | None = None
    response_format: Any = None
    user: str | None = None
    metadata: dict[str, Any] | None = None


def read_stops(stop: Any) -> tuple[str, ...]:
    """Stop sequences: a text or a list of them; ApiError (400)."""
    if stop is None:
        return ()
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(each, str) for each in stops):
        raise wrong(
            "stop", "invalid_value", f"stop must be a text or a list of texts, not {shown(stop)}"
        )
    if len(stops) > MOST_STOPS or any(len(each) > MOST_STOP_CHARS for each in stops):
        problem = f"stop: at most {MOST_STOPS} texts of at most {MOST_STOP_CHARS} characters"
        raise wrong("stop", "invalid_value", problem)
    return tuple(each for each in stops if each)


def check_tool_choice(choice: Any, param: str) -> None:
    """ApiError (400) where a tool must be called: this model calls none."""
    if choice is None or choice in ("none", "auto"):
        return
    if isinstance(choice, dict) and choice.get("type") in ("allowed_tools", "none", "auto"):
        return
    raise wrong(
        param,
        "unsupported_parameter",
        f"{param} asks for a call, and this model calls no tools: leave it out, or set it to none; "
        "response_format gives an answer as JSON",
    )
