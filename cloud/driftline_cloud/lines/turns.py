"""Which lines work where not all can at once: a turn is one round. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

START_S = 60.0
"""A line that was given its turn has so long to open a round."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a line would do. `num_ended`: rounds that ended in the present turn; `since_s`: when it
    began to run, or to wait.
    """

    line: str
    is_open: bool
    has_work: bool
    is_running: bool
    num_ended: int
    since_s: float


def choose(wishes: Sequence[Wish], *, most: int, now_s: float, turn_s: float) -> list[str]:
    """At most `most` lines (0: all) to run now, in the order of their claim.

    Who is in the middle of a round goes on, for `turn_s` at most; then those with work come, who
    waited longest first; who runs without anybody to make room for, stays.
    """
    if most == 0 or len(wishes) <= most:
        return [wish.line for wish in wishes]

    def claim(wish: Wish) -> tuple[int, float, str]:
        ran_s = now_s - wish.since_s
        in_turn = wish.num_ended == 0 and ran_s < (turn_s if wish.is_open else START_S)
        if wish.is_running:
            rank = 0 if in_turn else 2 if wish.has_work else 3
        else:
            rank = 1 if wish.has_work else 4
        # Of those that had a round, who has run for longest makes room first.
        return rank, -wish.since_s if rank == 2 else wish.since_s, wish.line

    return [wish.line for wish in sorted(wishes, key=claim)[:most]]
