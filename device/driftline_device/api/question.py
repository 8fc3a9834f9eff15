"""From the JSON of a chat completion to one question about one image: everything is checked here.

A pair answers one question about one image. What of OpenAI's request it cannot honour is refused
with the reason, never passed over, unless it cannot change the answer: answers are greedy, so
temperature, top_p, seed and penalties are accepted and without effect.
"""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from driftline_device.api.errors import ApiError
from driftline_shared.errors import DataError
from driftline_shared.pictures import decode_image
from driftline_shared.pictures.data_url import from_base64, payload_of
from driftline_shared.tokens import MAX_TEXT_CHARS

LARGE_BYTES = 1 << 20
"""Of bodies with more bytes, one is read at a time."""

ONE_QUESTION = (
    "this model answers one question about one image, without history: send one user message with "
    "one image_url part and text parts, and at most system or developer messages before it"
)

_one_large = threading.Lock()


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ImageUrl(_Model):
    """`url`: a data URL; `detail` is accepted and without effect."""

    url: str


class Part(_Model):
    """One part of a message: `type` "text" with `text`, or "image_url" with `image_url`."""

    type: str
    text: str | None = None
    image_url: ImageUrl | None = None


class Message(_Model):
    """`content`: a text, or parts."""

    role: str
    content: str | list[Part] | None = None


class StreamOptions(_Model):
    """`include_usage`: one more chunk at the end, with the numbers of tokens."""

    include_usage: bool | None = False


class ChatRequest(_Model):
    """The body of POST /v1/chat/completions, as far as it matters here."""

    model: str
    messages: list[Message] = Field(min_length=1, max_length=64)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    stop: str | list[str] | None = None
    tools: list[Any] | None = Field(default=None, max_length=0)
    functions: list[Any] | None = Field(default=None, max_length=0)
    logit_bias: dict[str, Any] | None = Field(default=None, max_length=0)
    modalities: list[Literal["text"]] | None = None
    response_format: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A request that can be answered: `image` (H, W, 3) uint8; `max_tokens` None: the pair's own
    bound.
    """

    image: NDArray[np.uint8]
    question: str
    max_tokens: int | None
    stream: bool
    include_usage: bool


def read_question(body: bytes, *, pair: str, max_pixels: int) -> Asked:
    """What is asked; ApiError (400, 404) naming what is wrong and what would be right.

    Of large bodies one is read at a time: its text and its picture take several times as much.
    """
    with _one_large if len(body) > LARGE_BYTES else nullcontext():
        return _read(body, pair, max_pixels)


def _read(body: bytes, pair: str, max_pixels: int) -> Asked:
    request = _parse(body)
    if request.model != pair:
        raise ApiError(
            404,
            f"the model {request.model[:100]!r} does not exist here: this device runs {pair!r}",
            code="model_not_found",
            param="model",
        )
    if request.stop:
        problem = "stop: stop sequences are not supported: answers are short"
        raise _wrong("stop", "unsupported_parameter", problem)
    if request.response_format and request.response_format.get("type") != "text":
        problem = "response_format: only the response format text is supported"
        raise _wrong("response_format", "unsupported_parameter", problem)
    texts, images = _read_messages(request.messages)
    if len(images) != 1:
        raise _wrong("messages", "one_image_needed", f"{len(images)} images: {ONE_QUESTION}")
    limits = [n for n in (request.max_completion_tokens, request.max_tokens) if n is not None]
    return Asked(
        image=_decode(*images[0], max_pixels),
        question=_joined(texts),
        max_tokens=min(limits) if limits else None,
        stream=bool(request.stream),
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
    )


def _parse(body: bytes) -> ChatRequest:
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        param = ".".join(str(part) for part in first["loc"]) or None
        message = f"{param or 'the body'}: {first['msg']}"
        code = "invalid_json" if first["type"] == "json_invalid" else "invalid_value"
        raise _wrong(param, code, message) from None


def _read_messages(messages: list[Message]) -> tuple[list[str], list[tuple[str, str]]]:
    """Texts in their order, and images as (place, URL)."""
    texts: list[str] = []
    images: list[tuple[str, str]] = []
    for number, message in enumerate(messages):
        place = f"messages.{number}"
        last = number == len(messages) - 1
        if (message.role == "user") != last or message.role not in ("system", "developer", "user"):
            raise _wrong(
                f"{place}.role",
                "unsupported_conversation",
                f"{place}: a message of role {message.role[:40]!r} there is not supported; "
                f"{ONE_QUESTION}",
            )
        parts = message.content or []
        if isinstance(parts, str):
            parts = [Part(type="text", text=parts)]
        for index, part in enumerate(parts):
            where = f"{place}.content.{index}"
            if part.type == "text" and part.text is not None:
                texts.append(part.text)
            elif part.type == "image_url" and part.image_url is not None and last:
                images.append((f"{where}.image_url.url", part.image_url.url))
            else:
                raise _wrong(
                    where,
                    "unsupported_content",
                    f"{where}: a part of type {part.type[:40]!r} is not supported there or not "
                    f"complete; {ONE_QUESTION}",
                )
    return texts, images


def _joined(texts: list[str]) -> str:
    question = "\n".join(text.strip() for text in texts if text.strip())
    if not question:
        raise _wrong("messages", "no_text", "messages: no text: ask something about the image")
    if len(question) > MAX_TEXT_CHARS:
        length = f"{len(question)} characters of text, at most {MAX_TEXT_CHARS}"
        raise _wrong("messages", "string_above_max_length", f"messages: {length}")
    return question


def _decode(place: str, url: str, max_pixels: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB."""
    if url[:64].lstrip()[:8].lower().startswith(("http://", "https://")):
        raise _wrong(
            place,
            "url_not_fetched",
            f"{place}: this device fetches no URLs; send the image itself as a data URL, "
            "data:image/jpeg;base64,...",
        )
    payload = payload_of(url)
    if payload is None:
        raise _wrong(
            place,
            "invalid_image_url",
            f"{place}: not a data URL of an image; it begins with data:image/jpeg;base64, or "
            "another image type",
        )
    try:
        data = from_base64(payload)
        return decode_image(data, name="the image", place=place, max_pixels=max_pixels)
    except ValueError as error:
        reason = f"{place}: not base64 ({error})"
    except DataError as error:
        reason = str(error)
    raise _wrong(place, "invalid_image", reason)


def _wrong(param: str | None, code: str, message: str) -> ApiError:
    return ApiError(400, message, code=code, param=param)
