"""`response_format`: an answer of a few words as JSON.

A pair says a text; JSON is put round it here. Of a schema, one value is filled in: the root's, or
the one field of an object. An enum's value is chosen by what the answer says: the one it equals,
else one that stands in it as words, else the one most like it (difflib's ratio, the first of
equals); `driftline.chosen_by` says which it was.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from driftline_device.api.ask.shape import Dressed, Form
from driftline_device.api.errors import ApiError
from driftline_device.api.wording import shown, wrong
from driftline_shared.exact_match import normalise

MOST_ENUM_VALUES = 1_000
MOST_REFERENCES = 8
"""`$ref` to `$ref`: more are a circle."""

JSON_FIELD = "answer"
"""Of a json_object, which names no field."""

_YES = ("yes", "true", "1", "y")
_NO = ("no", "false", "0", "n")
_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen", "twenty"),
)
_ONE_FIELD = (
    "only one value can be filled in: a schema of an object with one field, or of a text, enum, "
    "number or truth value"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonForm:
    """One value as JSON: in the field `name` of an object, or by itself. `values`: of an enum, else
    None; `kind`: of the value, in JSON Schema's words.
    """

    name: str | None
    kind: str = "string"
    values: tuple[Any, ...] | None = None

    def dress(self, answer: str) -> Dressed:
        """See `Form`."""
        notes: dict[str, Any] = {"answer": answer}
        if self.values is not None:
            value, notes["chosen_by"] = choose(answer, self.values)
        else:
            value = _value(answer, self.kind)
        whole = value if self.name is None else {self.name: value}
        return Dressed(text=json.dumps(whole, ensure_ascii=False), notes=notes)


def read_format(wanted: Any, place: str, *, nested: bool = True) -> Form | None:
    """The form that `wanted` asks for, None for text; ApiError (400) for what cannot be had.

    `nested`: a json_schema has its schema in an object of its own, as chat completions write it.
    """
    if wanted is None:
        return None
    if not isinstance(wanted, dict):
        raise wrong(place, "invalid_value", f"{place} must be an object, not {shown(wanted)}")
    kind = wanted.get("type")
    if kind in (None, "text"):
        return None
    if kind == "json_object":
        # llama.cpp's way: a schema beside the type.
        schema = wanted.get("schema")
        return (
            JsonForm(name=JSON_FIELD) if schema is None else _of_schema(schema, f"{place}.schema")
        )
    if kind != "json_schema":
        problem = f"{place}.type must be text, json_object or json_schema, not {shown(kind)}"
        raise wrong(f"{place}.type", "invalid_value", problem)
    where = f"{place}.json_schema" if nested else place
    holder = wanted.get("json_schema") if nested else wanted
    schema = holder.get("schema") if isinstance(holder, dict) else None
    return _of_schema(schema, f"{where}.schema")


def choose(answer: str, values: Sequence[Any]) -> tuple[Any, str]:
    """The one of `values` that `answer` says, and how it was found: equal, contained, null or
    nearest.
    """
    said = normalise(answer)
    texts = [normalise(_as_text(value)) for value in values]
    if said in texts:
        return values[texts.index(said)], "equal"
    words = f" {said} "
    inside = [at for at, text in enumerate(texts) if text and f" {text} " in words]
    if inside:
        return values[max(inside, key=lambda at: len(texts[at]))], "contained"
    if None in values:
        return None, "null"
    near = [difflib.SequenceMatcher(None, said, text).ratio() for text in texts]
    return values[near.index(max(near))], "nearest"


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "null" if value is None else str(value)


def _of_schema(schema: Any, place: str) -> JsonForm:
    if not isinstance(schema, dict):
        raise wrong(place, "invalid_value", f"{place} must be an object, not {shown(schema)}")
    node = _resolved(schema, schema, place)
    fields = node.get("properties")
    if node.get("type") != "object" and not isinstance(fields, dict):
        return _of_value(node, None, place)
    fields = fields if isinstance(fields, dict) else {}
    if not fields:
        return JsonForm(name=JSON_FIELD)
    required = node.get("required")
    names = [name for name in fields if isinstance(required, list) and name in required]
    if len(fields) == 1:
        names = list(fields)
    if len(names) != 1:
        problem = f"{place} has {len(names) or len(fields)} fields; {_ONE_FIELD}"
        raise wrong(place, "unsupported_schema", problem)
    where = f"{place}.properties.{names[0][:40]}"
    return _of_value(_resolved(fields[names[0]], schema, where), names[0], where)


def _of_value(node: dict[str, Any], name: str | None, place: str) -> JsonForm:
    values = node.get("enum")
    if "const" in node:
        values = [node["const"]]
    if values is not None:
        if not isinstance(values, list) or not 1 <= len(values) <= MOST_ENUM_VALUES:
            problem = f"{place}.enum must be a list of 1 to {MOST_ENUM_VALUES} values"
            raise wrong(f"{place}.enum", "invalid_value", problem)
        if any(isinstance(value, list | dict) for value in values):
            problem = f"{place}.enum must hold texts, numbers, truth values or null"
            raise wrong(f"{place}.enum", "unsupported_schema", problem)
        return JsonForm(name=name, values=tuple(values))
    kind = node.get("type", "string")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if kind not in ("string", "boolean", "integer", "number"):
        raise wrong(place, "unsupported_schema", f"{place}: {_ONE_FIELD}, not {shown(kind)}")
    return JsonForm(name=name, kind=kind)


def _resolved(node: Any, root: dict[str, Any], place: str) -> dict[str, Any]:
    """`node`, where a reference leads; of alternatives the first that is not null."""
    for _ in range(MOST_REFERENCES):
        if not isinstance(node, dict):
            break
        either = node.get("anyOf") or node.get("oneOf") or node.get("allOf")
        reference = node.get("$ref")
        if isinstance(reference, str):
            node = _found(reference, root)
        elif isinstance(either, list):
            kinds = (each for each in either if isinstance(each, dict))
            node = next((each for each in kinds if each.get("type") != "null"), None)
        else:
            return node
    raise wrong(place, "unsupported_schema", f"{place} leads to no schema that can be read")


def _found(reference: str, root: dict[str, Any]) -> Any:
    node: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _value(answer: str, kind: str) -> Any:
    if kind == "string":
        return answer
    said = normalise(answer)
    first = said.split(" ")[0].strip(".,;:!?")
    if kind == "boolean" and first in (*_YES, *_NO):
        return first in _YES
    if kind in ("integer", "number"):
        if first in _NUMBERS:
            return _NUMBERS.index(first)
        number = _number(first, whole=kind == "integer")
        if number is not None:
            return number
    needed = {"boolean": "truth value", "integer": "whole number", "number": "number"}[kind]
    raise ApiError(
        422,
        f"the model answered {answer[:100]!r}, which is no {needed} as response_format asks for",
        code="answer_does_not_fit",
        param="response_format",
    )


def _number(text: str, *, whole: bool) -> float | int | None:
    if not 0 < len(text) <= 15 or not set(text) <= set("+-.0123456789"):
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    if value.is_integer():
        return int(value)
    return None if whole else value
