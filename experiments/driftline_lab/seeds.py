"""Seeds as a command line names them: `0,1,2`."""

from __future__ import annotations

from driftline_shared.errors import ConfigError


def seeds_of(text: str) -> tuple[int, ...]:
    """The seeds of a comma-separated list, at least one.

    Raises ConfigError for one that is no whole number of 0 or more, or that is named twice: runs of
    one seed are equal, and an interval over them would be of no width.
    """
    try:
        found = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigError(f"--seeds: {text!r} is not a list of whole numbers like 0,1,2") from error
    if not found:
        raise ConfigError(f"--seeds: {text!r} names no seed; give whole numbers like 0,1,2")
    if any(seed < 0 for seed in found):
        raise ConfigError("--seeds: a seed is 0 or more")
    twice = next((seed for seed in found if found.count(seed) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"--seeds: {twice} is named twice; its runs are equal, so name each seed once"
        )
    return found
