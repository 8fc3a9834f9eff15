"""What a world's questions are decided by, and what its domains may be used for."""

from __future__ import annotations

from collections.abc import Mapping

from driftline_lab.data.boards import stream as boards
from driftline_lab.data.boards.domains import DOMAINS
from driftline_lab.data.boards.questions import ONE_SQUARE
from driftline_lab.data.streams import Interaction
from driftline_lab.data.worlds import BOARDS, World


def roles_of(world: World) -> Mapping[str, str]:
    """Domain -> what it may be used for, or "drift" where nothing was fixed."""
    if world is BOARDS:
        return {name: each.role.value for name, each in DOMAINS.items()}
    return dict.fromkeys(world.domains, "drift")


def square_of(event: Interaction) -> int | None:
    """The one square that decides the answer; None where none does."""
    if isinstance(event, boards.Event) and event.kind in ONE_SQUARE:
        return event.asked.square
    return None


def is_counted(event: Interaction) -> bool:
    """Whether it counts as a question that one square decides; where there are no squares, all."""
    return not isinstance(event, boards.Event) or event.kind in ONE_SQUARE
