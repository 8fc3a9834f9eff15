"""The content of a message, in the forms in which clients write it: texts and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from driftline_device.api.errors import ApiError
from driftline_device.api.wording import shown, wrong

MOST_PARTS = 256
"""Of one message."""

TEXT_TYPES = ("text", "input_text", "output_text", "refusal", "summary_text")
"""`output_text` and `refusal`: of answers that were given before."""

IMAGE_TYPES = ("image_url", "input_image")

_OTHER_TYPES = "parts are text (text, input_text) and pictures (image_url, input_image)"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it was sent. `place`: where in the request."""

    place: str
    url: str


def read_content(content: Any, place: str) -> Iterator[str | Picture]:
    """The texts and pictures of a message's `content`, in their order; ApiError (400) for others.

    A text, a list of parts, one part, or null.
    """
    if content is None:
        return
    if isinstance(content, str):
        yield content
        return
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise wrong(
            place,
            "invalid_value",
            f"{place} must be a text or a list of parts, not {shown(content)}",
        )
    if len(content) > MOST_PARTS:
        problem = f"{place} has {len(content)} parts, at most {MOST_PARTS} are taken"
        raise wrong(place, "invalid_value", problem)
    for number, part in enumerate(content):
        yield _read_part(part, f"{place}.{number}")


def _read_part(part: Any, place: str) -> str | Picture:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise wrong(place, "invalid_value", f"{place} must be an object, not {shown(part)}")
    kind = part.get("type")
    if kind in TEXT_TYPES:
        return _text(part, "refusal" if kind == "refusal" else "text", place)
    if kind in IMAGE_TYPES:
        return _picture(part, place)
    if kind is None:
        raise wrong(f"{place}.type", "invalid_value", f"{place}.type is missing: {_OTHER_TYPES}")
    raise wrong(
        place,
        "unsupported_content",
        f"{place}: a part of type {shown(kind).removeprefix('the text ')} is not supported; "
        f"{_OTHER_TYPES}",
    )


def _text(part: dict[str, Any], key: str, place: str) -> str:
    text = part.get(key)
    if not isinstance(text, str):
        raise _not_a_text(text, f"{place}.{key}", key in part)
    return text


def _picture(part: dict[str, Any], place: str) -> Picture:
    where = f"{place}.image_url"
    url = part.get("image_url")
    if url is None and part.get("file_id") is not None:
        raise wrong(
            f"{place}.file_id",
            "unsupported_content",
            f"{place}.file_id: this device keeps no files; send the picture itself in "
            "image_url, as a data URL",
        )
    if isinstance(url, dict):
        present, url, where = "url" in url, url.get("url"), f"{where}.url"
    else:
        present = "image_url" in part
    if not isinstance(url, str):
        raise _not_a_text(url, where, present)
    return Picture(where, url)


def _not_a_text(value: Any, place: str, is_there: bool) -> ApiError:
    fault = f"must be a text, not {shown(value)}" if is_there else "is missing"
    return wrong(place, "invalid_value", f"{place} {fault}")
