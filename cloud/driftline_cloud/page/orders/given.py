"""The orders that a page can give, each as its command does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from driftline_cloud.intake.database import Database
from driftline_cloud.lines.book import ACTIVE, PAUSED, LineBook
from driftline_cloud.rollout.orders import RolloutOrders
from driftline_cloud.trust.members import Members
from driftline_shared.errors import DataError
from driftline_shared.host.clock import Clock
from driftline_shared.plain_text import visible

RELEASE = ("approve", "pause", "resume", "promote", "stop")
"""Of the version that is on its way; as in `driftline cloud release`."""

LINE = ("pause line", "resume line")
MEMBER = ("accept", "revoke")


class Orders:
    """Gives orders to a cloud by its database, as the commands do."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._clock = clock
        self._rollouts = RolloutOrders(database, clock)
        self._book, self._members = LineBook(database), Members(database)
        releases: dict[str, Callable[..., object]] = {
            "approve": self._rollouts.approve,
            "pause": self._rollouts.pause,
            "resume": self._rollouts.resume,
            "promote": partial(self._rollouts.promote, to_all=False),
            "stop": self._rollouts.stop,
        }
        self._known: dict[str, Callable[[str, str, str], object]] = {
            **{
                name: (lambda about, who, why, do=do: do(about, who=who, why=why))
                for name, do in releases.items()
            },
            "pause line": lambda about, _who, _why: self._set_line(about, ACTIVE, PAUSED),
            "resume line": lambda about, _who, _why: self._set_line(about, PAUSED, ACTIVE),
            "accept": lambda about, who, _why: self._members.accept(
                about, now_unix_s=self._now(), who=who
            ),
            "revoke": lambda about, who, _why: self._members.revoke(
                about, now_unix_s=self._now(), who=who
            ),
        }

    def give(self, form: Mapping[str, str], *, who: str) -> str:
        """Do what a form says (`order`, `about`, `why`); a sentence about it. DriftlineError for
        what cannot be done now.
        """
        order, about = form.get("order", ""), form.get("about", "")
        do = self._known.get(order)
        if do is None or not about:
            raise DataError(f"there is no order {visible(order)[:40]!r}", fix="Use the pages.")
        do(about, who, form.get("why", ""))
        return f"{order}: {visible(about)}"

    def _set_line(self, name: str, before: str, now: str) -> None:
        row = self._book.find(name)
        if row.state != before:
            raise DataError(
                f"line {row.id} is {row.state}, not {before}", fix="Load the page again."
            )
        self._book.set_state(row.id, now, now_unix_s=self._now())

    def _now(self) -> int:
        return int(self._clock.now_s())
