"""Values as canonical JSON, and back: equal values are equal bytes.

Keys are sorted, a float has the one shortest text that reads back as itself (whole floats end in
`.0`, there is no minus zero), text is UTF-8, a line ends the document. What is written was read
back first, so nothing is written that the reader would refuse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from driftline_shared.errors import DataError

T = TypeVar("T")

_DIGITS = re.compile(r"\d{20,308}")
"""A bound such as 1e300, written out."""


def to_bytes(value: Any, *, indent: int | None = 1) -> bytes:
    """A dataclass of `run.py` as its document; DataError for a value that may not be in it."""
    kind = type(value)
    checked = from_bytes(_text(_document(value), None, allow_nan=True), kind, place=kind.__name__)
    return _text(_document(checked), indent)


def from_bytes(data: bytes, kind: type[T], *, place: str) -> T:
    """The value in `data`; fields that `kind` does not have are left out.

    Raises DataError that names `place` and the field that is wrong.
    """
    try:
        return cast(T, _adapter(cast(Hashable, kind)).validate_json(data))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = _DIGITS.sub(lambda bound: f"{float(bound[0]):g}", first["msg"])
        raise DataError(f"{place}: {f'{where}: ' if where else ''}{said}") from error


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(type, kind))


def _text(document: Any, indent: int | None, *, allow_nan: bool = False) -> bytes:
    separators = (",", ": ") if indent else (",", ":")
    try:
        text = json.dumps(
            document,
            indent=indent,
            sort_keys=True,
            ensure_ascii=False,
            separators=separators,
            allow_nan=allow_nan,
        )
        return text.encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise DataError(f"this cannot be kept as JSON: {error}") from error


def _document(value: Any) -> Any:
    """Dataclasses as objects of JSON, and 0.0 for -0.0, which are equal."""
    if isinstance(value, float):
        return value + 0.0
    if isinstance(value, dict):
        return {key: _document(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_document(each) for each in value]
    if (names := _field_names(cast(Hashable, type(value)))) is not None:
        return {name: _document(getattr(value, name)) for name in names}
    return value


@cache
def _field_names(kind: Hashable) -> tuple[str, ...] | None:
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else None
