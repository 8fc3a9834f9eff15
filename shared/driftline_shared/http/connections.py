"""Which connections are open, and which of them has to go when there is no room for another."""

from __future__ import annotations

import enum
import resource
from typing import Generic, Protocol, TypeVar

MOST_CONNECTIONS = 512
FEWEST_CONNECTIONS = 8


class Stage(enum.IntEnum):
    """What a connection does; the lower, the sooner it goes to make room."""

    HEADER = 0
    """No request is here: nothing came yet, half a header, or a client that may ask again."""
    BODY = 1
    """A request's body is on its way."""
    ANSWER = 2
    """A request is here and gets its answer: it is never sent away."""


class Closable(Protocol):
    """A connection."""

    def make_room(self) -> None:
        """Close at once."""


C = TypeVar("C", bound=Closable)


class Connections(Generic[C]):
    """Open connections by stage, the oldest of each first; at most `limit`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.num_sent_away = 0
        self._stages: tuple[dict[C, None], ...] = tuple({} for _ in Stage)
        self._stage_of: dict[C, Stage] = {}

    def __len__(self) -> int:
        return len(self._stage_of)

    def enter(self, connection: C) -> bool:
        """Take one more, in place of the one that has waited longest for a request where all are
        taken. False if there is no room: all the others have asked something.
        """
        if len(self._stage_of) >= self.limit and not self.send_away():
            return False
        self._put(connection, Stage.HEADER)
        return True

    def move(self, connection: C, stage: Stage) -> None:
        """It is at `stage` now, the newest there."""
        before = self._stage_of.get(connection)
        if before is not None and before is not stage:
            del self._stages[before][connection]
            self._put(connection, stage)

    def leave(self, connection: C) -> None:
        """It is closed."""
        stage = self._stage_of.pop(connection, None)
        if stage is not None:
            del self._stages[stage][connection]

    def send_away(self) -> bool:
        """Close one that has asked nothing yet, the oldest; whether there was one."""
        for stage in (Stage.HEADER, Stage.BODY):
            for connection in self._stages[stage]:
                self.leave(connection)
                self.num_sent_away += 1
                connection.make_room()
                return True
        return False

    def _put(self, connection: C, stage: Stage) -> None:
        self._stages[stage][connection] = None
        self._stage_of[connection] = stage


def default_limit() -> int:
    """Half of the files that this process may open: the rest of the program needs some, too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return min(MOST_CONNECTIONS, max(FEWEST_CONNECTIONS, soft // 2))
