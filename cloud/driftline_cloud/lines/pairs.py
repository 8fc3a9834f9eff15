"""From a pair to its line, and how a pair is named so that it is found again later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from driftline_cloud.intake.line import Line
from driftline_shared.errors import ConfigError
from driftline_shared.pair.pair import Pair


def line_of(pair: Pair, group: str = "") -> Line:
    """The line that devices of `pair` are on, or those of one group of them."""
    return Line(
        pair=pair.name,
        pair_dir=pair.dir,
        base_model=pair.base_model,
        token_space=pair.token_space,
        group=group,
    )


def named_pair(name: str) -> str:
    """`name` as it is kept in a row: a folder or a file by its whole path, whoever reads it."""
    path = Path(name)
    is_place = path.is_file() or (path.is_dir() and any(path.glob("*.toml")))
    return str(path.resolve()) if is_place else name


def named_line(pair: Pair, wanted: str) -> Line:
    """The line `wanted` of `pair`, a group's too. ConfigError where `pair` is by now another one
    than that of the line.
    """
    line = line_of(pair)
    if wanted == line.id:
        return line
    if wanted.startswith(f"{line.id}."):
        return replace(line, group=wanted.removeprefix(f"{line.id}."))
    raise ConfigError(
        f"pair {pair.name} is another one by now: its line is {line.id}, not {wanted}",
        fix=f"Put its files back, or `driftline cloud line add` it and drop {wanted}.",
    )
