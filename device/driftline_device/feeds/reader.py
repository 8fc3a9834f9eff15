"""One feed's pictures, read by a thread of its own and made ready for their turn.

A feed that breaks, be it a camera that is gone or a folder that was removed, is opened again with
growing pauses; the others do not notice.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import structlog

from driftline_device.feeds.region import Region, cut
from driftline_device.runtime.runtime import Question
from driftline_device.sinks.outage import Outage
from driftline_device.sources.source import IDLE_S, Source
from driftline_shared.host.clock import Clock
from driftline_shared.retry import Backoff, delays

BACKOFF = Backoff(first_s=0.5, cap_s=30.0)
"""Waits before a feed that broke is opened again."""

NEVER_CAP_S = 300.0
"""Longest wait, and after some tries each, of a feed that never gave a picture."""

STOP_S = 10.0
"""For a source to let go of what it holds."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedPlan:
    """What is done with one feed. `open`: its source, DriftlineError while that is away.

    `texts`: asked about each picture; none: what the source asks. `newest_only`: a picture that
    waits for its turn makes room for a newer one, else the source waits. `every_s`: between two
    pictures, where the source does not see to it itself.
    """

    name: str
    open: Callable[[], Source]
    texts: Sequence[str] = ()
    region: Region | None = None
    newest_only: bool = False
    every_s: float = 0.0


class FeedReader:
    """Holds at most one picture. `arrived`: shared by all feeds, notified of each change."""

    def __init__(
        self,
        plan: FeedPlan,
        arrived: threading.Condition,
        *,
        clock: Clock,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self.name = plan.name
        self._plan = plan
        self._arrived = arrived
        self._clock = clock
        self._backoff = backoff
        self._ready: deque[list[Question]] = deque(maxlen=1)
        self._ending = threading.Event()
        self._over = False
        self._source: Source | None = None
        self._num_broken = self._num_pictures = 0
        self._outage = Outage(
            "feed",
            clock,
            fix="It is opened again until it works; the other feeds go on.",
            feed=plan.name,
        )
        self._thread = threading.Thread(
            target=self._run, name=f"driftline-feed-{plan.name}", daemon=True
        )

    @property
    def num_broken(self) -> int:
        """Pictures left out so far."""
        source = self._source
        return self._num_broken + (source.num_broken if source is not None else 0)

    @property
    def over(self) -> bool:
        """Whether nothing more comes; under `arrived`."""
        return self._over and not self._ready

    def state(self) -> dict[str, Any]:
        """In JSON's terms."""
        doing = "over" if self._over else "away" if self._outage.error else "reading"
        return {"state": doing, "num_pictures": self._num_pictures, "error": self._outage.error}

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def take(self) -> list[Question]:
        """The questions about the picture that waits, if one does."""
        with self._arrived:
            found = self._ready.popleft() if self._ready else []
            self._arrived.notify_all()
        return found

    def stop(self) -> None:
        """End; a source that hangs is left."""
        self._ending.set()
        with self._arrived:
            self._arrived.notify_all()

    def join(self) -> None:
        """Wait until it let go of its source, some seconds at most."""
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            _log.warning("feed.hangs", feed=self.name, fix="It is let go once it answers.")

    def _run(self) -> None:
        never = replace(self._backoff, cap_s=max(NEVER_CAP_S, self._backoff.cap_s))
        waits = delays(never, random.Random())
        while not self._ending.is_set():
            before = self._num_pictures
            try:
                if self._read():
                    break
            except Exception as error:  # whatever it is, the feed is opened again
                self._let_go()
                self._outage.lost(str(error) or f"{type(error).__name__}: {error}")
                if self._num_pictures > before:
                    waits = delays(self._backoff, random.Random())
                self._clock.wait(self._ending, next(waits))
        with self._arrived:
            self._over = True
            self._arrived.notify_all()

    def _read(self) -> bool:
        """Read to the end; True there, False where it was stopped."""
        source = self._source = self._plan.open()
        due_s = self._clock.monotonic_s()
        with closing(iter(source)) as rows:
            for row in rows:
                if self._ending.is_set():
                    return False
                if row is None:
                    continue
                self._num_pictures += 1
                self._outage.back()
                self._put(self._questions(row, source.name))
                due_s = max(due_s + self._plan.every_s, self._clock.monotonic_s())
                if self._plan.every_s:
                    self._clock.wait(self._ending, due_s - self._clock.monotonic_s())
        return True

    def _let_go(self) -> None:
        """Forget the source."""
        source, self._source = self._source, None
        if source is not None:
            self._num_broken += source.num_broken

    def _questions(self, row: Question, source: str) -> list[Question]:
        plan = self._plan
        image = row.image if plan.region is None else cut(row.image, plan.region)
        shown = replace(row, image=image, feed=plan.name, domain=plan.name, source=source)
        if not plan.texts:
            return [shown]
        several = len(plan.texts) > 1
        return [replace(shown, text=text, truth=None, shared=several) for text in plan.texts]

    def _put(self, questions: list[Question]) -> None:
        with self._arrived:
            while self._ready and not self._plan.newest_only and not self._ending.is_set():
                self._arrived.wait(IDLE_S * 10)
            self._ready.append(questions)  # a newer one takes the place of one that waits
            self._arrived.notify_all()
