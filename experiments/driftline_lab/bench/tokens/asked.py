"""Which questions a pair is asked: streams and held-out sets of its world; what decides them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from driftline_lab.data import streams
from driftline_lab.data.boards import stream as boards
from driftline_lab.data.boards.domains import DOMAINS
from driftline_lab.data.boards.questions import ONE_SQUARE
from driftline_lab.data.streams import Interaction, Segment
from driftline_lab.data.worlds import world_named
from driftline_shared.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """`stream(segments, seed=)` and `held_out(domain, num_questions=, seed=)` of a world; `roles`:
    domain -> what it may be used for, or "drift" where nothing was fixed.
    """

    stream: Callable[..., Iterator[Interaction]]
    held_out: Callable[..., Iterator[Interaction]]
    roles: dict[str, str]

    def first(self, domain: str, num_questions: int, seed: int) -> Sequence[Interaction]:
        """The first questions of a stream of `domain`."""
        segment = Segment(domain=domain, num_questions=num_questions)
        return list(self.stream([segment], seed=seed))


def asked_of(pair: str) -> Asked:
    """Of the pair's world: boards or easy-vqa. Raises ConfigError for another."""
    world = world_named(None, pair=pair)
    if world.name == "boards":
        roles = {name: each.role.value for name, each in DOMAINS.items()}
        return Asked(stream=boards.stream, held_out=boards.held_out, roles=roles)
    if world.name == "easyvqa":
        roles = dict.fromkeys(world.domains, "drift")
        return Asked(stream=streams.stream, held_out=streams.held_out, roles=roles)
    raise ConfigError(f"pair {pair} reads {world.name}; tokens are compared on boards and easyvqa")


def square_of(event: Interaction) -> int | None:
    """The one square that decides the answer; None where none does."""
    if isinstance(event, boards.Event) and event.kind in ONE_SQUARE:
        return event.asked.square
    return None


def is_counted(event: Interaction) -> bool:
    """Whether it counts as a question that one square decides; where there are no squares, all."""
    return not isinstance(event, boards.Event) or event.kind in ONE_SQUARE
