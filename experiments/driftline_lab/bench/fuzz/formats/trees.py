"""JSON documents changed as trees: a broken byte mostly ends at the parser, an odd value seldom."""

from __future__ import annotations

import json
import random
from typing import Any

_ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1 << 31, 1 << 63, 1 << 70, 10**30, 0.5, 1e300, "", "x", "é\0",
    "a" * 20_000, [], {}, [[]], {"": {}}, [None], "2099-01-01T00:00:00Z", "0001-01-01T00:00:00Z",
    "1" * 64, "*/*", "[", "../x", "\ud800",
)  # fmt: skip
_NAMES = ("", "x", "\0", "name", "version")


def changed_tree(data: bytes, dice: random.Random) -> bytes | None:
    """`data` with one to three of its values exchanged, left out, renamed or doubled; None where it
    is no JSON of several values.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    for _ in range(dice.choice((1, 1, 2, 3))):
        places = _places(value)
        if not places:
            return None
        _change(*dice.choice(places), dice)
    return json.dumps(value).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(what holds it, where) of each value inside."""
    keys = list(value) if isinstance(value, dict) else range(len(value) if _is_list(value) else 0)
    found: list[tuple[Any, Any]] = []
    for key in keys:
        found += [(value, key), *_places(value[key])]
    return found


def _change(holder: Any, key: Any, dice: random.Random) -> None:
    what = dice.random()
    if what < 0.6:
        holder[key] = json.loads(json.dumps(dice.choice(_ODD)))
    elif what < 0.75:
        del holder[key]
    elif isinstance(holder, dict):
        holder[dice.choice(_NAMES)] = holder.pop(key)
    else:
        holder.append(json.loads(json.dumps(holder[key])))


def _is_list(value: Any) -> bool:
    return isinstance(value, list)
