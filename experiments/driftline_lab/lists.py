"""Comma-separated lists as a command line names them: `0,1,2`, `night,sketch`, `0.05,0.1`.

Each raises ConfigError for an empty list, for a part of another kind and for one that is named
twice, with the option's name: before anything runs, not after hours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

from driftline_shared.errors import ConfigError
from driftline_shared.program.nearest import nearest


def seeds_of(text: str) -> tuple[int, ...]:
    """The seeds of `--seeds`, each once: runs of one seed are equal, and an interval over them
    would be of no width.
    """
    return wholes_of("--seeds", text)


def wholes_of(option: str, text: str, *, least: int = 0) -> tuple[int, ...]:
    """Whole numbers, each at least `least`."""
    return _parsed(
        option,
        text,
        int,
        f"whole numbers of {least} or more, such as {least},{least + 1},{least + 2}",
        lambda n: n >= least,
    )


def numbers_of(
    option: str, text: str, *, above: float = -math.inf, most: float = math.inf
) -> tuple[float, ...]:
    """Finite numbers above `above` and at most `most`."""
    told = "numbers, such as 0.1,0.25"
    if math.isfinite(above) and math.isfinite(most):
        told = f"numbers above {above:g} and at most {most:g}, such as 0.1,0.25"
    return _parsed(option, text, float, told, lambda n: math.isfinite(n) and above < n <= most)


def names_of(option: str, text: str, known: Collection[str] = ()) -> tuple[str, ...]:
    """Names; of `known` ones, where those are given."""
    found: tuple[str, ...] = _parsed(option, text, str, "names", lambda _: True)
    for name in found:
        if known and name not in known:
            raise ConfigError(
                f"{option}: {name!r} is unknown{nearest(name, known) or ';'} there are "
                f"{', '.join(known)}"
            )
    return found


def _parsed(
    option: str, text: str, kind: Callable[[str], Any], told: str, fits: Callable[[Any], bool]
) -> tuple[Any, ...]:
    try:
        found = tuple(kind(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        found = ()
    if not found or not all(fits(each) for each in found):
        raise ConfigError(f"{option}: {text!r} is no comma-separated list of {told}")
    twice = next((each for each in found if found.count(each) > 1), None)
    if twice is not None:
        raise ConfigError(f"{option}: {twice} is named twice; name each once")
    return found
