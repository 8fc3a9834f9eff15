"""What is wrong with a request, in our own sentences: nothing of the checker's words gets out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from driftline_device.api.errors import ApiError

B = TypeVar("B", bound=BaseModel)

MOST_SHOWN_CHARS = 40
"""Of a wrong value that comes back."""

_PLACE = re.compile(r"at line (\d+) column (\d+)")

_MUST_BE = {
    "string_type": "must be a text",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
}

_BOUNDS = {
    "greater_than_equal": ("ge", "must be at least"),
    "greater_than": ("gt", "must be more than"),
    "less_than_equal": ("le", "must be at most"),
    "less_than": ("lt", "must be less than"),
}


def parsed(kind: type[B], body: bytes) -> B:
    """`body`, JSON, as `kind`; ApiError (400) naming the first thing wrong and what is right."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False)[0]) from None


def wrong(param: str | None, code: str, message: str) -> ApiError:
    """A 400."""
    return ApiError(400, message, code=code, param=param)


def shown(value: Any) -> str:
    """`value` of a request, for people: short, and what it is rather than all of it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        cut = value[:MOST_SHOWN_CHARS]
        return f"the text {cut!r}" + ("..." if len(value) > len(cut) else "")
    if isinstance(value, int | float):
        # Not its digits first: a whole number of millions of digits cannot be written out.
        return str(value) if abs(value) < 1e15 or value != value else "that large a number"
    return "a list" if isinstance(value, list | tuple) else "an object"


def _refusal(error: ErrorDetails) -> ApiError:
    kind, context = error["type"], error.get("ctx") or {}
    param = ".".join(str(part) for part in error["loc"]) or None
    if kind == "json_invalid":
        where = _PLACE.search(str(context.get("error", "")))
        place = f" from line {where[1]}, column {where[2]} on" if where else ""
        return wrong(param, "invalid_json", f"the body is no JSON{place}")
    return wrong(param, "invalid_value", f"{param or 'the body'} {_fault(kind, context, error)}")


def _fault(kind: str, context: Mapping[str, Any], error: ErrorDetails) -> str:
    value = error.get("input")
    if kind == "missing":
        return "is missing"
    if kind in _MUST_BE:
        return f"{_MUST_BE[kind]}, not {shown(value)}"
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"{words} {context[bound]:g}, not {shown(value)}"
    if kind == "too_short":
        return "is empty"
    if kind == "too_long":
        return f"has {context['actual_length']} entries, at most {context['max_length']} are taken"
    if kind == "literal_error":
        return f"must be {context['expected']}, not {shown(value)}"
    if kind.startswith("string_unicode"):
        return "is no text that can be written as UTF-8"
    if kind.startswith("recursion"):
        return "is nested too deeply"
    return f"cannot be {shown(value)}"
