"""Work on the samples of a round in which bad ones cost themselves alone.

What fails is halved until the culprits are found (`culprits`); they go into quarantine with their
reason, and the round goes on with the others in the same run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import structlog

from driftline_cloud.intake.quarantine import Fault, Quarantine
from driftline_cloud.jobs import Label
from driftline_cloud.rounds.culprits import find_culprits, no_control
from driftline_shared.codec.tokens import encode_tokens
from driftline_shared.errors import DriftlineError, PairError, Reason, SampleError
from driftline_shared.host.clock import Clock
from driftline_shared.pair.pair import load_pair
from driftline_shared.tokens import Sample, VisualTokens

_log = structlog.get_logger(__name__)

_CONTROL_ID = bytes(16)


@dataclass(kw_only=True)
class Sieve:
    """Finds culprits among the samples of one line and sets them apart."""

    quarantine: Quarantine
    pair_dir: Path
    clock: Clock
    _control: list[Sample] | None = field(default=None, init=False)

    def work(
        self,
        round_id: str,
        ids: Sequence[bytes],
        attempt: Callable[[Sequence[bytes]], None],
        *,
        control: Callable[[Sequence[Sample]], None] | None = None,
    ) -> list[bytes]:
        """`attempt` on `ids`, or on what is left of them; gives the ids that were set apart.

        `control` is called with a sample that is known to be good, where the pair has one. Raises
        what `attempt` raised where that is no sample's fault.
        """

        def with_known_good(_: Sequence[bytes]) -> None:
            good = self._known_good()
            if not good or control is None:
                no_control(())
            else:
                control(good)

        found = find_culprits(ids, attempt, control=with_known_good)
        self.set_apart(round_id, [Fault.of(one, error) for one, error in found])
        return [one for one, _ in found]

    def set_apart(self, round_id: str, faults: Sequence[Fault]) -> None:
        """Put samples into quarantine, with their reasons, and say so."""
        if not faults:
            return
        self.quarantine.put(faults, round_id=round_id, now_unix_s=int(self.clock.now_s()))
        for fault in faults[:20]:
            _log.warning(
                "sample.quarantined",
                round=round_id,
                sample=fault.sample_id.hex(),
                reason=fault.reason,
                cause=fault.detail,
                fix="`driftline cloud samples show ID`, then `drop` or `release`.",
            )
        if len(faults) > 20:
            _log.warning("samples.quarantined", round=round_id, num_samples=len(faults))

    def _known_good(self) -> list[Sample]:
        """A row of the pair's source set as a sample; none where the pair has no such set."""
        if self._control is None:
            try:
                self._control = [_source_sample(self.pair_dir)]
            except (DriftlineError, OSError, IndexError):
                self._control = []
        return self._control


def check_labels(labels: Sequence[Label], ids: Sequence[bytes]) -> None:
    """Raise unless there is a finite label for each of `ids`: SampleError for a single one that is
    not finite, DriftlineError for others than were asked for.
    """
    if [label.sample_id for label in labels] != list(ids):
        raise DriftlineError("the workers gave other labels than were asked for")
    if not all(math.isfinite(label.confidence) for label in labels):
        # Of several the search finds out which; one alone is at fault itself.
        raise SampleError("the teacher's answer is not finite", reason=Reason.SAMPLE_NOT_FINITE)


def _source_sample(pair_dir: Path) -> Sample:
    pair = load_pair(pair_dir)
    source = pair.source_set()
    if not source.rows:
        raise PairError("the source set is empty")
    image, question, answer = source.rows[0]
    values = source.tokens[image]
    grid = pair.token_space.grid
    tokens = VisualTokens(
        values=values, positions=np.arange(len(values), dtype=np.int32), grid=grid
    )
    return Sample(
        id=_CONTROL_ID,
        question=question,
        answer=answer,
        tokens=encode_tokens(tokens, pair.token_space, "int8"),
        created_unix_s=0,
        adapter_version=0,
    )
