"""Which methods are measured with which options: the rows of the table, before any is measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.table import METHODS


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A method with its options; a row of the table."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name and options other than `keep`, as `--methods` reads them."""
        given = (f"{k}={json.dumps(v)}" for k, v in self.options.items() if k != "keep")
        return ":".join([self.method, *given])

    @property
    def keep(self) -> float | None:
        """The budget; None where the method's own default stands."""
        return self.options.get("keep")


def cells(methods: str, budgets: Sequence[float], *, videos: bool) -> list[Cell]:
    """The rows that `methods` and `budgets` ask for, in order.

    `methods`: names, comma-separated, each with options of its own where wanted
    ("fastv,sparsevlm:recycle=false,voco:tokens=1"); empty: all that read pictures, or clips
    (`videos`). A method that was trained for one budget is measured at its own, as is one whose
    options name `keep`. Raises ConfigError for a name that is unknown.
    """
    found: list[Cell] = []
    names = methods.split(",") if methods else suitable(videos)
    for entry in names:
        name, options = parsed(entry.strip())
        if name not in METHODS:
            raise ConfigError(f"methods: {name!r}; known are {', '.join(sorted(METHODS))}")
        if METHODS[name].trained or "keep" in options:
            found.append(Cell(method=name, options=options))
        else:
            found += [Cell(method=name, options=options | {"keep": share}) for share in budgets]
    return found


def parse_budgets(text: str) -> list[float]:
    """Shares below 1 of a comma-separated list, falling. Raises ConfigError for what is none."""
    try:
        shares = [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ConfigError(f"budgets: {text!r} is no list of shares such as 0.5,0.25") from error
    if any(not 0 < share <= 1 for share in shares):
        raise ConfigError(f"budgets: {text!r}; a share is above 0 and at most 1")
    # 1.0 is the uncompressed model, measured whether it is named or not.
    return sorted({share for share in shares if share < 1}, reverse=True)


def suitable(videos: bool) -> list[str]:
    """Methods that read clips (`videos`), or pictures."""
    return [name for name, each in METHODS.items() if (each.videos if videos else each.images)]


def parsed(entry: str) -> tuple[str, dict[str, Any]]:
    """Name and options of "fastv:layer=3". Raises ConfigError for an option of another form."""
    name, *given = entry.split(":")
    options: dict[str, Any] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise ConfigError(f"methods: {entry!r}; an option is written NAME:KEY=VALUE")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    return name, options
