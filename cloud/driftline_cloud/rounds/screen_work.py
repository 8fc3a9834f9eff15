"""The screen of a round, between labelling and training: suspects go into quarantine.

It looks at all that the round took and the teacher answered, what it set apart before included, so
that a round that was cut off finds the same again.
"""

from __future__ import annotations

from dataclasses import dataclass

from driftline_cloud.intake.counts import DROPPED
from driftline_cloud.intake.line import Line
from driftline_cloud.intake.quarantine import Fault
from driftline_cloud.intake.store import SampleStore
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.rounds.round import Round
from driftline_cloud.rounds.sieve import Sieve
from driftline_cloud.screening.screen import counted, screen
from driftline_cloud.screening.seen import see
from driftline_cloud.screening.settings import ScreenSettings


@dataclass(kw_only=True)
class ScreenWork:
    """Screens the samples of rounds of `line`. `teacher`: the key of its labels."""

    line: Line
    store: SampleStore
    ledger: RoundLedger
    sieve: Sieve
    teacher: str
    settings: ScreenSettings

    def work(self, round_: Round) -> dict[str, float]:
        """Set the suspects of a round apart; how many there are, by rule."""
        if not self.settings.enabled:
            return {}
        claimed = self.ledger.claimed(round_.id)
        owners = self.ledger.devices(claimed)
        labels = self.store.labels(claimed, teacher=self.teacher)
        states = self.store.states(claimed)
        # One that an operator dropped meanwhile has no bytes to look at.
        ids = [one for one in claimed if one in labels and states[one] != DROPPED]
        if len({owners[one] for one in ids}) < self.settings.least_devices:
            return {}
        seen = see(
            self.store.load(ids), [labels[one] for one in ids], owners, self.line.token_space
        )
        let_in = self.sieve.quarantine.let_in(ids)
        suspects = [one for one in screen(seen, self.settings) if one.sample_id not in let_in]
        self.sieve.set_apart(
            round_.id,
            [
                Fault(sample_id=one.sample_id, reason=one.reason, detail=one.detail)
                for one in suspects
            ],
        )
        return {f"screen.{name}": value for name, value in counted(suspects).items()}
