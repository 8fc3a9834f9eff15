"""A section of a program's settings: each setting says its type, default, bounds and meaning once.

    class ProbeLimits(Section):
        num_timed: int = setting(8, "questions asked one by one, for their time", ge=0)

The part that reads a section owns it; a program's settings hold it, or inherit from it where its
keys stand at the top of the file. docs/operations.md has its tables from here.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from driftline_shared.errors import ConfigError
from driftline_shared.program.nearest import nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

T = TypeVar("T")
Kind = TypeVar("Kind", bound=BaseModel)


class Section(BaseModel):
    """Base of sections: frozen, and unknown keys are errors, as are infinity and NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def setting(
    default: T,
    meaning: str,
    *,
    live: bool = False,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> T:
    """One setting. `live`: a running device takes a new value up without a restart."""
    value: T = Field(
        default=default,
        description=meaning,
        json_schema_extra={"live": live},
        ge=ge,
        gt=gt,
        le=le,
        lt=lt,
    )
    return value


def is_live(field: FieldInfo) -> bool:
    """Whether a running device takes up a new value of the setting or section."""
    extra = field.json_schema_extra
    return isinstance(extra, Mapping) and bool(extra.get("live"))


class Entry(NamedTuple):
    """One line of a table of settings."""

    key: str
    meaning: str
    live: bool


def entries(kind: type, prefix: str = "", *, live: bool = False) -> Iterator[Entry]:
    """Every setting of a section or dataclass by its dotted key; sections come last.

    `live`: the section itself is.
    """
    if dataclasses.is_dataclass(kind):
        for plain in dataclasses.fields(kind):
            yield Entry(prefix + plain.name, plain.metadata.get("description", ""), live)
        return
    sections = []
    for name, field in kind.model_fields.items():  # type: ignore[attr-defined]
        changes = live or is_live(field)
        if dataclasses.is_dataclass(field.annotation) or section_of(field) is not None:
            sections.append((field.annotation, f"{prefix}{name}.", changes))
        else:
            yield Entry(prefix + name, field.description or "", changes)
    for inner, path, changes in sections:
        yield from entries(inner, path, live=changes)


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The kind of section that `field` holds; None for a plain setting."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def read_section(kind: type[Kind], values: Mapping[str, object], name: str) -> Kind:
    """A section from plain values; ConfigError names the first wrong key below `name`."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise explained(error, kind, name) from error


def explained(error: ValidationError, kind: type[BaseModel], name: str = "") -> ConfigError:
    """The first of the errors of `kind`, called `name`: which key, what is right, what it is."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    text, value = in_words(first), first["input"]
    if first["type"] == "extra_forbidden":
        known = _known(kind, where[:-1])
        text = f"unknown key; known are {', '.join(known)}{nearest(where[-1], known)}"
    elif isinstance(value, int | float):
        # Other values stay out: they may be secrets.
        text = f"{text}, not {json.dumps(value)}"
    return ConfigError(f"{'.'.join([*filter(None, [name]), *where]) or 'configuration'}: {text}")


_WORDS = {
    "bool": "is true or false",
    "int": "is a whole number",
    "float": "is a number",
    "string": "is a text",
    "tuple": 'is a list: ["a", "b"], in the environment, too',
    "list": 'is a list: ["a", "b"], in the environment, too',
    "dict": "is a table: its keys have a dot before them, or two underscores in the environment",
    "model": "is a section: its keys have a dot before them, or two underscores in the environment",
}
"""What is right, by the beginning of the type of a pydantic error."""

_OF_THE_KIND = ("type", "parsing", "parsing_size", "from_float", "unicode")
"""How such a type ends where the value is of the wrong kind."""


def in_words(error: ErrorDetails) -> str:
    """What is right where a value is wrong, without pydantic's own words."""
    kind, context = str(error["type"]), error.get("ctx") or {}
    if kind == "literal_error":
        return f"is {context['expected']}"
    if kind == "finite_number":
        return "is a finite number"
    begins, _, how = kind.partition("_")
    # Of texts and lists there are errors of another kind than that they are none.
    if begins in _WORDS and how in _OF_THE_KIND:
        return _WORDS[begins]
    for name, words in (
        ("ge", "at least"),
        ("gt", "more than"),
        ("le", "at most"),
        ("lt", "less than"),
    ):
        if name in context:
            return f"is {words} {context[name]}"
    return error["msg"].removeprefix("Value error, ")


def _known(kind: type[BaseModel], path: list[str]) -> list[str]:
    """Keys of the section at `path` below `kind`; a list's number and a choice's name lie on it."""
    kinds: list[Any] = [kind]
    for part in path:
        inner = [each.model_fields[part].annotation for each in kinds if part in each.model_fields]
        chosen = [each for each in kinds if part == _choice(each)]
        kinds = chosen or (kinds if part.isdecimal() else list(_sections(inner)))
    return sorted({name for each in kinds for name in each.model_fields})


def _choice(kind: type[BaseModel]) -> object:
    """What tells `kind` from others in a list of several kinds."""
    field = kind.model_fields.get("kind")
    return get_args(field.annotation)[0] if field is not None else None


def _sections(annotations: Iterable[Any]) -> Iterator[type[BaseModel]]:
    """Every section in the annotations, also in lists and choices."""
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        else:
            yield from _sections(get_args(annotation))
