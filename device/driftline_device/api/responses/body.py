"""The body of POST /v1/responses, as far as it matters here; other fields are passed over."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from driftline_device.api.ask.asked import Asked, check_model
from driftline_device.api.ask.shape import Shape
from driftline_device.api.chat.body import Body, check_tool_choice
from driftline_device.api.chat.conversation import Conversation, compose, read_messages
from driftline_device.api.chat.formats import read_format
from driftline_device.api.chat.images import decode
from driftline_device.api.settings import ApiConfig
from driftline_device.api.wording import parsed, shown, wrong
from driftline_device.runtime.likely import MOST_LIKELY

MOST_ITEMS = 256

LOGPROBS = "message.output_text.logprobs"
"""In `include`: probabilities are wanted."""

PARTS = ("input_text", "input_image", "text", "image_url")
"""Items of `input` that are parts rather than messages: some clients send them bare."""


class TextOptions(Body):
    """`format`: see `formats.read_format`."""

    format: Any = None


class ResponsesBody(Body):
    """A response to be made. Nothing of it is kept: there are no responses to go on from."""

    model: str | None = None
    input: Any = None
    instructions: Any = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    stream: bool | None = None
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_LIKELY)
    text: TextOptions | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    previous_response_id: str | None = None
    conversation: Any = None
    background: bool | None = None
    include: list[Any] | None = None
    metadata: dict[str, Any] | None = None
    user: str | None = None


def read_responses(body: bytes, *, pair: str, config: ApiConfig, max_pixels: int) -> Asked:
    """What is asked; ApiError (400, 404) naming what is wrong and what would be right."""
    request = parsed(ResponsesBody, body)
    check_model(request.model, pair=pair, names=config.model_names)
    _refuse(request)
    wanted = request.text.format if request.text else None
    shape = Shape(form=read_format(wanted, "text.format", nested=False))
    composed = compose(_conversation(request), config, place="input")
    left_out = list(composed.left_out)
    if request.tools:
        left_out.append("tools")
    with_logprobs = request.top_logprobs or LOGPROBS in (request.include or ())
    return Asked(
        image=decode(composed.picture, max_pixels=max_pixels),
        question=composed.question,
        max_tokens=request.max_output_tokens,
        stream=bool(request.stream),
        include_usage=True,
        shape=shape,
        left_out=tuple(dict.fromkeys(left_out)),
        num_likely=(request.top_logprobs or 0) if with_logprobs else None,
    )


def _refuse(request: ResponsesBody) -> None:
    for name in ("previous_response_id", "conversation"):
        if getattr(request, name) is not None:
            raise wrong(
                name,
                "unsupported_parameter",
                f"{name}: this device keeps no responses; send the earlier turns in input",
            )
    if request.background:
        problem = "background: this device answers at once, and keeps nothing to ask for later"
        raise wrong("background", "unsupported_parameter", problem)
    if request.tools or request.tool_choice == "required":
        check_tool_choice(request.tool_choice, "tool_choice")


def _conversation(request: ResponsesBody) -> Conversation:
    items = request.input
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if not isinstance(items, list):
        fault = "is missing" if items is None else f"must be a text or a list, not {shown(items)}"
        raise wrong("input", "invalid_value", f"input {fault}")
    if len(items) > MOST_ITEMS:
        problem = f"input has {len(items)} entries, at most {MOST_ITEMS} are taken"
        raise wrong("input", "invalid_value", problem)
    said = read_messages([_message(item) for item in items], "input")
    first = request.instructions
    if first is None or first == "":
        return said
    if isinstance(first, list):
        more = read_messages([_message(item) for item in first], "instructions")
        texts = (*more.instructions, *(turn.text for turn in more.turns))
    elif isinstance(first, str):
        texts = (first,)
    else:
        problem = f"instructions must be a text, not {shown(first)}"
        raise wrong("instructions", "invalid_value", problem)
    return Conversation(
        instructions=(*texts, *said.instructions), turns=said.turns, has_tools=said.has_tools
    )


def _message(item: Any) -> Any:
    """An item of `input` as a message of a chat: calls of tools and their results as a tool's."""
    if not isinstance(item, dict) or "role" in item:
        return item
    kind = item.get("type")
    if kind in PARTS:
        return {"role": "user", "content": [item]}
    if kind in (None, "message"):
        return item
    return {"role": "tool", "content": None}
