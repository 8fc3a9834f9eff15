"""The orders that a page can give, each as its command does it."""

from __future__ import annotations

from collections.abc import Mapping

from driftline_cloud.intake.database import Database
from driftline_cloud.lines.book import ACTIVE, PAUSED, LineBook
from driftline_cloud.rollout.orders import RolloutOrders
from driftline_cloud.trust.issuer import Role
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

    def give(self, form: Mapping[str, str], *, who: str) -> None:
        """Do what a form says (`order`, `about`, `why`, `sure`). DriftlineError for what
        cannot be done now.
        """
        order, about, why = (form.get(key, "") for key in ("order", "about", "why"))
        if order in RELEASE and about:
            self._release(order, about, who, why)
        elif order in LINE and about:
            before, now = (ACTIVE, PAUSED) if order == "pause line" else (PAUSED, ACTIVE)
            self._set_line(about, before, now, who)
        elif order in MEMBER and about:
            if order == "revoke" and form.get("sure") != "yes":
                self._warn_of_operator(about)
            change = self._members.accept if order == "accept" else self._members.revoke
            change(about, now_unix_s=self._now(), who=who)
        else:
            raise DataError(f"there is no order {visible(order)[:40]!r}", fix="Use the pages.")

    def _release(self, order: str, line: str, who: str, why: str) -> None:
        rollouts = self._rollouts
        if order == "promote":
            rollouts.promote(line, who=who, why=why, to_all=False)
            return
        known = {
            "approve": rollouts.approve,
            "pause": rollouts.pause,
            "resume": rollouts.resume,
            "stop": rollouts.stop,
        }
        known[order](line, who=who, why=why)

    def _set_line(self, name: str, before: str, now: str, who: str) -> None:
        row = self._book.find(name)
        if row.state != before:
            raise DataError(
                f"line {row.id} is {row.state}, not {before}", fix="Load the page again."
            )
        self._book.set_state(row.id, now, now_unix_s=self._now(), who=who)

    def _warn_of_operator(self, identity: str) -> None:
        """Whoever revokes an operator may shut out themselves: that wants a tick."""
        if any(
            one.role is Role.OPERATOR and one.identity.startswith(identity)
            for one in self._members.listed()
        ):
            raise DataError(
                f"{identity} is an operator's, whose commands the cloud would refuse",
                fix="Tick that beside the button, if you mean it.",
            )

    def _now(self) -> int:
        return int(self._clock.now_s())
