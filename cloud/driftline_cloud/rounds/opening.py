"""Opening a round: by a trigger where rounds are driven, by order anywhere; needs no worker."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from driftline_cloud.intake.store import SampleStore
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.rounds.round import Round, new_round
from driftline_cloud.rounds.settings import RoundSettings
from driftline_shared.errors import LinkError, Reason
from driftline_shared.host.clock import Clock

_log = structlog.get_logger(__name__)

OPERATOR = "operator"
"""The trigger of a round that was ordered."""

LEAST_SAMPLES = 2
"""Of an ordered round: one to learn from, one to judge by."""


def _never_held() -> str:
    return ""


class RoundOpening:
    """Opens rounds of `line` with what waits; calls may come from any thread and process.

    `held`: why none may start now; empty: one may.
    """

    def __init__(
        self,
        line: str,
        *,
        store: SampleStore,
        ledger: RoundLedger,
        registry: ReleaseRegistry,
        settings: RoundSettings,
        clock: Clock,
        held: Callable[[], str] = _never_held,
    ) -> None:
        self.why_held = held
        self._line = line
        self._store = store
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
        num_waiting = self._store.counts(self._line).num_waiting
        round_ = self.open(OPERATOR) if num_waiting >= LEAST_SAMPLES else None
        if round_ is not None:
            return round_
        running = self._ledger.open_round(self._line)
        if running is not None:
            raise LinkError(
                f"round {running.id} is open: {running.state}", reason=Reason.ROUND_OPEN
            )
        raise LinkError(
            f"{num_waiting or 'no'} samples wait on line {self._line}, a round takes at least "
            f"{LEAST_SAMPLES}: one to learn from, one to judge by",
            reason=Reason.TOO_FEW_SAMPLES,
        )

    def open(self, trigger: str) -> Round | None:
        """Open a round; None if nothing waits or one is open already."""
        round_ = self._ledger.open(
            self._line,
            most_samples=self._settings.most_samples,
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
