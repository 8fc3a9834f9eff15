"""From the JSON of a chat completion to one question about one image: everything is checked here.

What of OpenAI's request cannot be honoured is refused with the reason, or named as left out where
clients send it by default.
"""

from __future__ import annotations

from driftline_device.api.ask.asked import Asked, check_model
from driftline_device.api.ask.shape import Shape
from driftline_device.api.chat.body import ChatBody, check_tool_choice, read_stops
from driftline_device.api.chat.conversation import compose, read_messages
from driftline_device.api.chat.formats import read_format
from driftline_device.api.chat.images import decode
from driftline_device.api.settings import ApiConfig
from driftline_device.api.wording import parsed, wrong


def read_question(body: bytes, *, pair: str, config: ApiConfig, max_pixels: int) -> Asked:
    """What is asked; ApiError (400, 404) naming what is wrong and what would be right."""
    request = parsed(ChatBody, body)
    check_model(request.model, pair=pair, names=config.model_names)
    _refuse(request)
    shape = Shape(read_stops(request.stop), read_format(request.response_format, "response_format"))
    composed = compose(read_messages(request.messages, "messages"), config, place="messages")
    left_out = list(composed.left_out)
    if request.tools or request.functions:
        left_out.append("tools")
    limits = [n for n in (request.max_completion_tokens, request.max_tokens) if n is not None]
    return Asked(
        image=decode(composed.picture, max_pixels=max_pixels),
        question=composed.question,
        max_tokens=min(limits) if limits else None,
        stream=bool(request.stream),
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
        shape=shape,
        left_out=tuple(dict.fromkeys(left_out)),
        num_likely=(request.top_logprobs or 0) if request.logprobs else None,
    )


def _refuse(request: ChatBody) -> None:
    if request.top_logprobs and not request.logprobs:
        problem = "top_logprobs needs logprobs to be true"
        raise wrong("top_logprobs", "invalid_value", problem)
    if request.n is not None and request.n > 1:
        problem = "n must be 1: answers are greedy, so that another one would be the same"
        raise wrong("n", "invalid_value", problem)
    if request.tools or request.functions or request.tool_choice == "required":
        check_tool_choice(request.tool_choice, "tool_choice")
        check_tool_choice(request.function_call, "function_call")
    if request.logit_bias:
        raise wrong("logit_bias", "unsupported_parameter", "logit_bias is not supported")
    for number, kind in enumerate(request.modalities or ()):
        if kind != "text":
            place = f"modalities.{number}"
            raise wrong(place, "invalid_value", f"{place} must be text: this model only writes")
