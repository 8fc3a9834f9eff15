"""Opening a round: by a trigger where rounds are driven, by order anywhere; needs no worker."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.rounds.round import Round, new_round
from driftline_cloud.rounds.settings import RoundSettings
from driftline_cloud.rounds.shares import Claim, Shares
from driftline_shared.errors import LinkError, Reason
from driftline_shared.host.clock import Clock

_log = structlog.get_logger(__name__)

OPERATOR = "operator"
"""The trigger of a round that was ordered."""

LEAST_SAMPLES = 2
"""Of an ordered round: one to learn from, one to judge by."""


def _never_held() -> str:
    return ""


def beyond_share(taken: Claim) -> str:
    """Why samples wait on, in words."""
    return (
        f"{taken.num_left} are more than the {taken.share:.0%} of a round that each of "
        f"{taken.num_devices} devices may give (rounds.device_share)"
    )


class RoundOpening:
    """Opens rounds of `line` with what waits; calls may come from any thread and process.

    `held`: why none may start now; empty: one may.
    """

    def __init__(
        self,
        line: str,
        *,
        ledger: RoundLedger,
        registry: ReleaseRegistry,
        settings: RoundSettings,
        clock: Clock,
        held: Callable[[], str] = _never_held,
    ) -> None:
        self.why_held = held
        self._line = line
        self._ledger = ledger
        self._registry = registry
        self._settings = settings
        self._clock = clock

    def by_order(self) -> Round:
        """Open a round with what waits now, whatever the triggers say; who drives the line carries
        it. Raises LinkError: `round_open`, `rollout_open`, `too_few_samples`.
        """
        if self._ledger.open_round(self._line) is None and (why := self.why_held()):
            raise LinkError(
                f"no round starts on line {self._line}: {why}", reason=Reason.ROLLOUT_OPEN
            )
        round_ = self.open(OPERATOR, least_samples=LEAST_SAMPLES)
        if round_ is not None:
            return round_
        running = self._ledger.open_round(self._line)
        if running is not None:
            raise LinkError(
                f"round {running.id} is open: {running.state}", reason=Reason.ROUND_OPEN
            )
        taken = self.claimable()
        text = (
            f"{taken.num_taken + taken.num_left or 'no'} samples wait on line {self._line}, a "
            f"round takes at least {LEAST_SAMPLES}: one to learn from, one to judge by"
        )
        if taken.num_left:
            text += f"; {beyond_share(taken)}"
        raise LinkError(text, reason=Reason.TOO_FEW_SAMPLES)

    def claimable(self) -> Claim:
        """What a round would take of what waits now."""
        return self._ledger.claimable(self._line, self._shares())

    def _shares(self) -> Shares:
        return self._settings.shares(now_unix_s=int(self._clock.now_s()))

    def open(self, trigger: str, *, least_samples: int = 1) -> Round | None:
        """Open a round; None if fewer than `least_samples` can be taken or one is open already."""
        round_ = self._ledger.open(
            self._line,
            self._shares(),
            least_samples=least_samples,
            make=lambda number, num_samples: new_round(
                line=self._line,
                number=number,
                base_seed=self._settings.seed,
                num_samples=num_samples,
                # Within the transaction: a round that ends meanwhile has released before.
                base_version=self._registry.newest_version(self._line),
                trigger=trigger,
                now_unix_s=self._clock.now_s(),
            ),
        )
        if round_ is not None:
            _log.info(
                "round.opened", round=round_.id, num_samples=round_.num_samples, trigger=trigger
            )
        return round_
