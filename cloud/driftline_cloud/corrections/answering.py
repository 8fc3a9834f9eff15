"""Answers what devices are unsure of, between and beside rounds: small batches, soon.

A loop of its own with a teacher of its own, so that no answer waits for a round that distils. An
answer is a label like any other: a round that comes to the sample later does not ask again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import structlog

from driftline_cloud.corrections.settings import EscalationSettings
from driftline_cloud.corrections.store import CorrectionStore
from driftline_cloud.intake.faults import say
from driftline_cloud.intake.line import Line
from driftline_cloud.intake.store import SampleStore
from driftline_cloud.jobs import Label
from driftline_cloud.workers.workers import Labelling
from driftline_shared.callbacks import ignore
from driftline_shared.errors import Reason, SampleError
from driftline_shared.host.clock import Clock
from driftline_shared.program.outage import Outage

TIDY_S = 10.0
"""Seconds between two looks for what waited too long."""

_log = structlog.get_logger(__name__)


class Answerer:
    """Answers the samples of `line` that wait in `corrections`, in the thread that calls `run`.

    `make_teacher` is called at the first of them. `teacher`: the key of its labels.
    """

    def __init__(
        self,
        corrections: CorrectionStore,
        samples: SampleStore,
        *,
        make_teacher: Callable[[], Labelling],
        line: Line,
        teacher: str,
        settings: EscalationSettings,
        clock: Clock,
    ) -> None:
        self._corrections = corrections
        self._samples = samples
        self._make_teacher = make_teacher
        self._line = line
        self._teacher = teacher
        self._settings = settings
        self._clock = clock
        self._outage = Outage(
            "answers.step_failed",
            "answers.work_again",
            monotonic_s=clock.monotonic_s,
            line=line.id,
        )
        self._loaded: Labelling | None = None
        self._used_s = self._tidied_s = float("-inf")

    def run(self, stop: threading.Event) -> None:
        """Answer until `stop` is set; what waits then is answered at the next start."""
        if self._settings.max_waiting == 0:
            return
        try:
            while not stop.is_set():
                try:
                    busy = self.step()
                except Exception as error:
                    # The database or a cluster may be away for a while.
                    say(self._outage, error, self._samples.place)
                    busy = False
                    self._clock.wait(stop, self._settings.poll_s * 10)
                else:
                    self._outage.is_over()
                if not busy:
                    self._clock.wait(stop, self._settings.poll_s)
        finally:
            self._unload()

    def step(self) -> bool:
        """Answer one batch; False if nothing waits."""
        now_s = self._clock.monotonic_s()
        if now_s - self._tidied_s >= TIDY_S:
            self._tidied_s = now_s
            self._corrections.tidy(now_unix_s=self._clock.now_s())
        ids = self._corrections.waiting(self._line.id, self._settings.batch)
        if not ids:
            if self._loaded is not None and now_s - self._used_s >= self._settings.unload_s:
                self._unload()
            return False
        known = self._samples.labels(ids, teacher=self._teacher)
        self._keep(list(known.values()))
        missing = [one for one in ids if one not in known]
        if missing:
            self._answer(missing)
            self._used_s = self._clock.monotonic_s()
        return True

    def _answer(self, ids: Sequence[bytes]) -> None:
        began_s = self._clock.monotonic_s()
        try:
            labels = self._label(ids)
        except Exception:
            if len(ids) > 1:  # one of them; which, is seen when each is answered alone
                for one in ids:
                    self._answer([one])
                return
            _log.exception("answers.failed", sample=ids[0].hex())
            self._corrections.give_up(ids, Reason.ANSWER_FAILED, now_unix_s=self._now())
            return
        self._samples.put_labels(labels, teacher=self._teacher)
        self._keep(labels)
        took_s = self._clock.monotonic_s() - began_s
        _log.info("answers.given", num_samples=len(labels), seconds=round(took_s, 3))

    def _label(self, ids: Sequence[bytes]) -> list[Label]:
        if self._loaded is None:
            self._loaded = self._make_teacher()
        labels = self._loaded.label(self._line.pair_dir, self._samples.load(ids), ignore)
        if [label.sample_id for label in labels] != list(ids):
            raise SampleError("the teacher gave other answers than were asked for")
        return labels

    def _keep(self, labels: Sequence[Label]) -> None:
        if labels:
            self._corrections.answer(labels, teacher=self._teacher, now_unix_s=self._now())

    def _now(self) -> int:
        return int(self._clock.now_s())

    def _unload(self) -> None:
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None
            _log.info("answers.teacher_unloaded")
