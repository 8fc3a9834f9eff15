"""The daemon: source -> answer -> reply -> sample -> spool -> link, and updates between two
requests.

Threads: the caller of `run` answers and samples; `driftline-updates` asks for updates, applies and
watches them; `driftline-status` writes the snapshot and what a restart must not forget; the link
has its own. Whatever goes wrong in the background is logged and tried again: the device always
answers.

State folder: device_id, lock, spool.sqlite, slots/, update.json, failed.json, link/, policy.json
(the cloud's newest), sampling.json (budgets spent), status.json (for people), rollback.json and
paused.json (an operator's wishes).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

import structlog

from driftline_device.pacing import Pacer, batch_size, batches
from driftline_device.parts import DaemonSettings, DeviceLink, Parts, Reply, no_reply
from driftline_device.runtime.runtime import Answer, Question
from driftline_device.scoring import is_correct
from driftline_device.settling import is_settled
from driftline_device.snapshot import Snapshot, write_snapshot
from driftline_device.sources.source import Observation, Source
from driftline_device.supervision import NoSupervisor, Supervisor
from driftline_device.updates.applier import UpdateSettings
from driftline_device.updates.rollback import uncertainty
from driftline_device.views import take_snapshot
from driftline_shared.errors import DriftlineError, LinkError
from driftline_shared.tokens import SamplingPolicy

RETRY_PAUSES_S = (0.0, 0.2, 1.0)
"""Waits before a question is asked again while a new version is under watch: time to roll back."""

SLICE_S = 0.2
"""Longest wait of the answering thread before it looks whether it should stop."""

_log = structlog.get_logger(__name__)


class Daemon:
    """Runs one device. `start`, any number of `run`, then `stop`; `request_stop` from anywhere."""

    def __init__(
        self,
        parts: Parts,
        settings: DaemonSettings,
        *,
        reply: Reply = no_reply,
        supervisor: Supervisor | None = None,
    ) -> None:
        self._parts = parts
        self._settings = settings
        self._reply = reply
        self._supervisor = supervisor or NoSupervisor()
        self._paused_unix_s: float | None = None
        self._stop_asked = False
        self._ending = threading.Event()
        self._activity = "starting"
        self._segment = ""
        self._num_broken_rows = 0
        self._num_asked = 0
        self._keep_due_s = 0.0
        self._policy: SamplingPolicy | None = None
        self._told_of_images = False
        self._threads = [
            threading.Thread(target=self._run_updates, name="driftline-updates", daemon=True),
            threading.Thread(target=self._run_status, name="driftline-status", daemon=True),
        ]

    # -- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Load what is in force and begin the background work; the cloud need not be there."""
        self._tell_of_images()
        self._take_pause()
        self._parts.applier.recover()
        if self._parts.link is not None:
            self._parts.link.start()
        for thread in self._threads:
            thread.start()

    def request_stop(self) -> None:
        """Stop reading after the batch in hand; safe in a signal handler.

        A plain flag: an Event's lock may be held by the very thread that a handler interrupts.
        """
        self._stop_asked = True

    @property
    def stopping(self) -> bool:
        """Whether somebody asked to stop."""
        return self._stop_asked

    def run(self, source: Source) -> int:
        """Answer everything `source` gives, unless stopped; how many were answered."""
        self._activity, self._segment = "answering", source.name
        self._parts.meter.new_segment(source.name)
        before, broken = self._parts.meter.read().num_answered, self._num_broken_rows
        pacer, num_read = Pacer(self._parts.clock), 0
        with closing(iter(source)) as rows:
            for batch in batches(rows, self._batch_size):
                num_read += len(batch)
                self._num_broken_rows = broken + source.num_broken
                if not self._keep_pace(pacer, len(batch)):
                    break
                if batch:
                    self._handle(batch)
                self._supervisor.beat()
                every = self._settings.settle_every
                if every and num_read // every > (num_read - len(batch)) // every:
                    self.settle(self._settings.settle_s)
                    self._activity = "answering"
        self._num_broken_rows = broken + source.num_broken
        return self._parts.meter.read().num_answered - before

    def settle(self, timeout_s: float) -> bool:
        """Wait until samples have left and no update is on its way, at most `timeout_s` seconds.

        Settled means: for `quiet_s` on end the spool was empty, no round ran in the cloud and its
        newest version was in force here (or had failed here). False if that did not come about.
        """
        link = self._parts.link
        if link is None:
            return True
        if self._paused_unix_s is not None:
            return False
        self._activity = "settling"
        clock = self._parts.clock
        deadline_s = clock.monotonic_s() + timeout_s
        quiet_since_s: float | None = None
        while not self._stop_asked and clock.monotonic_s() < deadline_s:
            link.wake()
            if self._is_settled(link):
                now_s = clock.monotonic_s()
                quiet_since_s = now_s if quiet_since_s is None else quiet_since_s
                if now_s - quiet_since_s >= self._settings.quiet_s:
                    return True
            else:
                quiet_since_s = None
                self._parts.applier.wake.set()
            self._supervisor.beat()
            clock.sleep(SLICE_S)
        return False

    def hold(self) -> None:
        """Stay in touch with the cloud, without questions, until somebody asks to stop."""
        self._activity = "holding"
        while not self._stop_asked:
            with self._parts.turns:
                pass  # Not before its turn: a model that hangs must stop the beat, too.
            self._supervisor.beat()
            self._parts.clock.sleep(SLICE_S)

    def drain(self, timeout_s: float) -> bool:
        """Wait until the spool is empty, at most `timeout_s`; whether it is (True without link)."""
        if self._parts.link is None:
            return True
        self._activity = "draining"
        return self._parts.link.flush(0.0 if self._paused_unix_s is not None else timeout_s)

    def stop(self, drain_s: float) -> bool:
        """Drain for at most `drain_s`, then end all threads; whether the spool was emptied."""
        self._stop_asked = True
        drained = self.drain(drain_s)
        self._ending.set()
        self._parts.applier.wake.set()
        if self._parts.link is not None:
            self._parts.link.stop()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(10.0)
        self._activity = "stopped"
        self._guard("sampling", self._keep_sampling)
        self._tick()
        return drained

    def take_settings(
        self, settings: DaemonSettings, updates: UpdateSettings, policy: SamplingPolicy
    ) -> None:
        """New settings from the next step on, for the thread that answers.

        `policy` counts only where the cloud has never given one.
        """
        self._settings = settings
        self._parts.applier.take_settings(updates)
        if self._parts.memory.policy() is None:
            self._policy = policy

    def adopt_policy(self, policy: SamplingPolicy) -> None:
        """A policy from the cloud: kept for the next start, obeyed from the next answer on."""
        self._policy = policy
        try:
            self._parts.memory.keep_policy(policy)
        except OSError as error:
            _log.error("policy.not_kept", error=str(error))

    # -- answering ---------------------------------------------------------------------------

    def _batch_size(self) -> int:
        return batch_size(self._settings.batch_size, self._settings.pace)

    def _keep_pace(self, pacer: Pacer, num_more: int) -> bool:
        """Wait until `num_more` questions are due; False if stopped before."""
        pacer.count(num_more)
        while not self._stop_asked:
            # Asked for anew each time: a new pace may have come.
            wait_s = pacer.wait_s(self._settings.pace)
            if wait_s <= 0:
                return True
            self._supervisor.beat()
            self._parts.clock.sleep(min(wait_s, SLICE_S))
        return False

    def _handle(self, batch: Sequence[Observation]) -> None:
        questions = [Question(image=each.image, text=each.question) for each in batch]
        for observation, question, answer in zip(
            batch, questions, self._answer(questions), strict=True
        ):
            if answer is None:
                self._parts.meter.errored()
                _log.error("answer.failed", place=observation.place)
                continue
            self._guard("reply", partial(self._reply, observation, answer))
            self._parts.applier.answered(question, answer)
            sample_id = self._sample(observation, answer)
            self._score(observation, answer, sample_id)
        now_s = self._parts.clock.monotonic_s()
        if now_s >= self._keep_due_s:
            # Here, not in the status thread: the sampler belongs to the thread that answers.
            self._keep_due_s = now_s + self._settings.status_s
            self._guard("sampling", self._keep_sampling)

    def _keep_sampling(self) -> None:
        self._parts.memory.keep_sampling(self._parts.sampler)

    def _answer(self, questions: Sequence[Question]) -> list[Answer | None]:
        """An answer for each question; None only where the model fails on it again and again."""
        try:
            with self._parts.turns:
                return list(self._parts.runtime.answer(questions))
        except Exception:
            _log.exception("answer.batch_raised", num_questions=len(questions))
            self._parts.applier.errored()
        return [self._answer_one(question) for question in questions]

    def _answer_one(self, question: Question) -> Answer | None:
        for pause_s in RETRY_PAUSES_S:
            if pause_s and not self._parts.applier.state.watching:
                break
            self._parts.clock.sleep(pause_s)
            try:
                with self._parts.turns:
                    return self._parts.runtime.answer([question])[0]
            except Exception as error:
                _log.error("answer.raised", error=f"{type(error).__name__}: {error}")
                self._parts.applier.errored()
        return None

    def _sample(self, observation: Observation, answer: Answer) -> bytes | None:
        """Consider the answer for sending; the sample's id if it lies in the spool now."""
        if self._paused_unix_s is not None:
            return None
        try:
            policy, self._policy = self._policy, None
            if policy is not None:
                self._obey(policy)
            with self._parts.turns:
                sample = self._parts.sampler.consider(
                    observation.question, answer, self._parts.runtime, observation.image
                )
            if sample is None or not self._parts.spool.append(sample):
                return None
        except Exception:
            _log.exception("sample.raised")
            return None
        if self._parts.link is not None:
            self._parts.link.wake()
        return sample.id

    def _obey(self, policy: SamplingPolicy) -> None:
        try:
            self._parts.sampler.set_policy(policy)
            _log.info("policy.obeyed", revision=policy.revision)
        except DriftlineError as error:
            _log.error("policy.refused", revision=policy.revision, error=str(error), fix=error.fix)
        self._tell_of_images()

    def _tell_of_images(self) -> None:
        """Say once that the cloud asks for images which the owner does not let leave."""
        if self._parts.sampler.images_refused and not self._told_of_images:
            self._told_of_images = True
            _log.warning(
                "policy.images_stay",
                revision=self._parts.sampler.policy.revision,
                fix="Nothing to do, or set images_may_leave = true to let parts of images leave.",
            )

    def _score(self, observation: Observation, answer: Answer, sample_id: bytes | None) -> None:
        truth = observation.truth
        correct = None if truth is None else is_correct(answer.text, truth)
        domain = observation.domain or self._segment
        score = uncertainty(answer)
        self._parts.meter.answered(domain=domain, correct=correct, uncertainty=score)
        self._num_asked += 1
        row = {
            "n": self._num_asked,
            "segment": self._segment,
            "domain": domain,
            "correct": correct,
            "version": answer.version,
            "uncertainty": round(score, 6),
            "sent": sample_id is not None,
            "sample": sample_id.hex() if sample_id else None,
        }
        self._guard("events", lambda: self._parts.events.write(**row))

    @staticmethod
    def _guard(what: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            _log.exception("daemon.guarded", what=what)

    # -- background --------------------------------------------------------------------------

    def _run_updates(self) -> None:
        applier, link, clock = self._parts.applier, self._parts.link, self._parts.clock
        due_s = clock.monotonic_s()
        while not self._ending.is_set():
            try:
                applier.act()
                settling = self._activity == "settling"
                due = clock.monotonic_s() >= due_s or settling
                if link is not None and due and self._paused_unix_s is None:
                    due_s = clock.monotonic_s() + self._settings.poll_s
                    if applier.poll(link):
                        due_s = 0.0  # there may be the next version already
            except LinkError as error:
                _log.info("updates.waiting", reason=error.reason, error=str(error))
            except Exception:
                _log.exception("updates.raised")
            wait_s = min(1.0 if self._activity == "settling" else self._settings.poll_s, 60.0)
            clock.wait(applier.wake, max(0.0, min(wait_s, due_s - clock.monotonic_s())))

    def _run_status(self) -> None:
        while not self._parts.clock.wait(self._ending, self._settings.status_s):
            self._tick()

    def _tick(self) -> None:
        self._guard("pause", self._take_pause)
        self._guard("status", self._tell)
        self._guard("rollback", self._take_wish)

    def _tell(self) -> None:
        snapshot = self.snapshot()
        write_snapshot(self._parts.state, snapshot)
        self._supervisor.tell(snapshot)

    def _take_pause(self) -> None:
        """Obey an operator's wish to rest, or that it was taken back."""
        since = self._parts.memory.paused_since()
        was, self._paused_unix_s = self._paused_unix_s, since
        if (was is None) == (since is None):
            return
        _log.warning("daemon.resumed" if since is None else "daemon.paused", since_unix_s=since)
        if self._parts.link is not None:
            self._parts.link.hold(since is not None)

    def _take_wish(self) -> None:
        version = self._parts.memory.take_rollback()
        if version is not None:
            self._parts.applier.request_rollback(version)

    def _is_settled(self, link: DeviceLink) -> bool:
        try:
            return is_settled(
                link.status(),
                line=f"{self._parts.pair_name}-{self._parts.runtime.base_model[:12]}",
                num_waiting=self._parts.spool.stats().num_samples,
                state=self._parts.applier.state,
                failed_versions=self._parts.applier.failed_versions,
            )
        except LinkError:
            return False

    def snapshot(self) -> Snapshot:
        """The daemon now."""
        return take_snapshot(
            self._parts,
            activity=self._activity,
            segment=self._segment,
            num_broken_rows=self._num_broken_rows,
            paused_unix_s=self._paused_unix_s,
        )
