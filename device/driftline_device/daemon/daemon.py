"""The daemon: source -> answer -> sample -> spool -> link, and updates between two
requests.

Threads: the caller of `run`, and whoever calls `ask`, answers and samples; `driftline-updates`
asks for updates, applies and watches them; `driftline-status` writes the snapshot and what a
restart must not forget; the link has its own. A device with steps (`step_questions`) has no thread
for updates: the caller of `run` does their work while it waits at a step. Whatever goes wrong in
the background is logged and tried again: the device always answers.

State folder: device_id, lock, spool.sqlite, slots/, update.json, failed.json, link/, policy.json
(the cloud's newest), sampling.json (budgets spent), status.json (for people), rollback.json,
paused.json and step.json (an operator's requests).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

import structlog

from driftline_device.daemon.answering import Answering, guard
from driftline_device.daemon.listener import AnswerListener
from driftline_device.daemon.pacing import Pacer, batch_size, batches
from driftline_device.daemon.parts import DeviceLink, Parts
from driftline_device.daemon.settings import DaemonSettings
from driftline_device.daemon.snapshot import Snapshot, take_snapshot, write_snapshot
from driftline_device.daemon.spending import Spending
from driftline_device.daemon.step_wait import StepWait
from driftline_device.daemon.steps import Steps
from driftline_device.daemon.supervision import Supervisor
from driftline_device.daemon.update_loop import UpdateLoop
from driftline_device.daemon.update_notes import note_card, note_update
from driftline_device.runtime.runtime import Answer, Question
from driftline_device.sources.source import Source, feed_states, num_left_out
from driftline_device.updates.phases import RESTING
from driftline_shared.errors import DriftlineError, LinkError, Reason
from driftline_shared.ids import line_id
from driftline_shared.status import CLOSED_ROUNDS
from driftline_shared.tokens import SamplingPolicy

ASKS_END_S = 30.0
"""Most seconds that questions under way may take when the daemon stops."""

SLICE_S = 0.2
"""Longest wait of the answering thread before it looks whether it should stop."""

_log = structlog.get_logger(__name__)


class Daemon:
    """Runs one device. `start`, any number of `run`, then `stop`; `request_stop` from anywhere."""

    def __init__(
        self, parts: Parts, settings: DaemonSettings, *, supervisor: Supervisor | None = None
    ) -> None:
        self._parts = parts
        self._settings = settings
        self._steps = Steps(settings.step_questions)
        self._applying = threading.Lock()
        self._answering = Answering(parts, between_tries=self._act if self._steps.on else None)
        self._step_wait = StepWait(
            parts,
            self._answering,
            at_updates=self._at_updates,
            turn=self._turn,
            is_paused=lambda: self._paused_unix_s is not None,
            show=self._show,
        )
        self._spending = Spending(parts.state)
        self._supervisor = supervisor or Supervisor()
        self._paused_unix_s: float | None = None
        self._started = False
        self._stop_asked = False
        self._ending = threading.Event()
        self._activity = "starting"
        self._segment = ""
        self._source: Source | None = None
        self._num_broken_rows = self._num_files_left_out = 0
        self._threads = [
            threading.Thread(target=self._run_status, name="driftline-status", daemon=True)
        ]

    # -- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Load what is in force and begin the background work; the cloud need not be there."""
        self._answering.log_refusals()
        self._take_pause()
        guard("step", self._parts.state_files.forget_steps)
        with self._at_updates():
            self._parts.applier.recover()
        if self._parts.link is not None:
            self._parts.link.start()
        for thread in self._threads:
            thread.start()
        if not self._steps.on:
            self._start_updates()
        self._answering.open()
        self._started = True

    def request_stop(self) -> None:
        """Stop reading after the current batch; safe in a signal handler.

        A plain flag: an Event's lock may be held by the very thread that a handler interrupts.
        """
        self._stop_asked = True

    @property
    def stopping(self) -> bool:
        """Whether somebody asked to stop."""
        return self._stop_asked

    @property
    def ready(self) -> bool:
        """Whether `ask` takes questions."""
        return self._started and not self._stop_asked

    def run(self, source: Source) -> int:
        """Answer everything `source` gives, unless stopped; how many were answered."""
        self._step()
        self._activity, self._segment, self._source = "answering", source.name, source
        self._parts.meter.new_segment(source.name)
        before, broken = self._parts.meter.read().num_answered, self._num_broken_rows
        left_out = self._num_files_left_out
        pacer, num_read = Pacer(self._parts.clock), 0
        with closing(iter(source)) as rows:
            for batch in batches(rows, self._batch_size):
                num_read += len(batch)
                self._num_broken_rows = broken + source.num_broken
                self._num_files_left_out = left_out + num_left_out(source)
                if not self._keep_pace(pacer, len(batch)):
                    break
                if batch:
                    broken += self._answering.handle(
                        batch, segment=self._segment, keep_every_s=self._settings.status_s
                    )
                    self._steps.count(len(batch))
                self._supervisor.beat()
                self._step()
                every = self._settings.settle_every
                if every and num_read // every > (num_read - len(batch)) // every:
                    self.settle(self._settings.settle_s)
                    self._activity = "answering"
        self._num_broken_rows = broken + source.num_broken
        self._num_files_left_out = left_out + num_left_out(source)
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

    def end_steps(self) -> None:
        """The sources are over: a device with steps waits once more, where there was a question
        since the last one.
        """
        self._steps.end()
        self._step()

    def hold(self) -> None:
        """Stay in touch with the cloud, without questions, until somebody asks to stop."""
        self._activity = "holding"
        if self._steps.on and not self._stop_asked:
            self._start_updates()  # the last step is behind it
        turns, num_done = self._parts.runtime.turns, -1
        while not self._stop_asked:
            # Other threads may be asking: a model that hangs must stop the beat, too.
            if turns.is_free or turns.num_done != num_done:
                self._supervisor.beat()
            num_done = turns.num_done
            self._parts.clock.sleep(SLICE_S)

    def drain(self, timeout_s: float) -> bool:
        """Wait until the spool is empty, at most `timeout_s`; whether it is (True without link)."""
        if self._parts.link is None:
            return True
        self._activity = "draining"
        num_waiting = self._parts.spool.stats().num_samples
        if num_waiting and timeout_s > 0 and self._paused_unix_s is None:
            _log.info(
                "daemon.waits_for_samples_to_leave",
                num_samples=num_waiting,
                most_s=timeout_s,
                connected=self._parts.link.stats().connected,
                fix="A second Ctrl-C ends it at once: they stay in the spool. See drain_s.",
            )
        return self._parts.link.flush(0.0 if self._paused_unix_s is not None else timeout_s)

    def stop(self, drain_s: float) -> bool:
        """Drain for at most `drain_s`, then end all threads; whether the spool was emptied."""
        self._stop_asked = True
        if not self._answering.close(ASKS_END_S):
            _log.warning("daemon.questions_left", waited_s=ASKS_END_S)
        drained = self.drain(drain_s)
        self._ending.set()
        self._parts.applier.wake.set()
        if self._parts.link is not None:
            self._parts.link.stop()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(10.0)
        guard("sinks", self._parts.publisher.close)  # the last status tells what they delivered
        self._activity = "stopped"
        self._answering.keep()
        self._tick()
        guard("bytes", partial(self._count_bytes, at_once=True))
        return drained

    def take_settings(self, settings: DaemonSettings) -> None:
        """New settings from the next step on, for the thread that answers.

        `sampling` counts only where the cloud has never sent a policy.
        """
        self._settings = settings
        self._parts.applier.take_settings(settings)
        if self._parts.dial is not None:
            self._parts.dial.take_hand(settings.sampling_by_hand)
        if self._parts.state_files.policy() is None:
            self._answering.take_policy(settings.sampling)

    def adopt_policy(self, policy: SamplingPolicy) -> None:
        """A policy from the cloud: kept for the next start, obeyed from the next answer on."""
        self._answering.take_policy(policy)
        guard("policy", lambda: self._parts.state_files.keep_policy(policy))

    # -- answering --------------------------------------------------------------------------------

    def _batch_size(self) -> int:
        return self._steps.most(batch_size(self._settings.batch_size, self._settings.pace))

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

    def ask(self, question: Question, listener: AnswerListener | None = None) -> Answer:
        """Answer one question as a source's would be, from any thread; see `Answering.ask`.

        `listener` has the reply before the answer is sampled; this returns after.
        """
        if not self.ready:
            raise DriftlineError("the device is starting or draining", reason=Reason.STOPPING)
        return self._answering.ask(
            question,
            listener,
            segment=question.domain or self._segment,
            keep_every_s=self._settings.status_s,
            wait_s=self._settings.escalate_wait_ms / 1000.0,
        )

    # -- steps ------------------------------------------------------------------------------------

    def _step(self) -> None:
        """Between two batches of a device with steps: do what the watch asked for; wait at a step
        that is reached, until it is let go on or somebody asks to stop.
        """
        if not self._steps.on:
            return
        guard("watch", self._act)
        if self._steps.due:
            before = self._activity
            self._step_wait.go_through(self._steps.number or 0, retry_s=self._settings.poll_s)
            self._activity = before
            self._steps.passed()

    def _turn(self) -> bool:
        """Between two looks of a device that waits at a step; False when somebody asked to stop."""
        self._supervisor.beat()
        guard("watch", self._act)
        return not self._stop_asked

    def _show(self, activity: str) -> None:
        self._activity = activity

    @contextmanager
    def _at_updates(self) -> Iterator[None]:
        """One thread at the updates at a time; how one ended is recorded."""
        with self._applying:
            self._note_update()
            try:
                yield
            finally:
                self._note_update()

    def _note_update(self) -> None:
        guard("trace", partial(note_update, self._parts))
        guard("history", partial(note_card, self._parts))

    def _act(self) -> None:
        with self._at_updates():
            self._parts.applier.act()

    # -- background -------------------------------------------------------------------------------

    def _start_updates(self) -> None:
        parts = self._parts
        loop = UpdateLoop(
            parts.applier,
            parts.link,
            parts.clock,
            poll_s=self._poll_s,
            is_settling=lambda: self._activity == "settling",
            is_paused=lambda: self._paused_unix_s is not None,
            at_updates=self._at_updates,
        )
        thread = threading.Thread(
            target=loop.run, args=(self._ending,), name="driftline-updates", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _run_status(self) -> None:
        while not self._parts.clock.wait(self._ending, self._settings.status_s):
            self._tick()

    def _tick(self) -> None:
        guard("pause", self._take_pause)
        guard("status", self._write_status)
        guard("rollback", self._take_rollback)
        guard("bytes", self._count_bytes)
        if self._parts.history is not None:
            guard("history", self._parts.history.flush)
            guard("teach", self._teach)
        if self._parts.escalation is not None:
            guard("escalation", self._parts.escalation.tidy)
        guard("state", self._parts.state_files.retry)

    def _write_status(self) -> None:
        snapshot = self.snapshot()
        write_snapshot(self._parts.state, snapshot)
        self._supervisor.report(snapshot)

    def _teach(self) -> None:
        """Make a sample of one answer that the owner marked, where they let labels leave."""
        history = self._parts.history
        allowed = self._settings.labels_may_leave and self._parts.link is not None
        if history is None or not allowed or self._paused_unix_s is not None:
            return
        for mark in history.to_teach(1):
            if self._answering.teach(mark):
                history.note_taught(mark.id)

    def _count_bytes(self, *, at_once: bool = False) -> None:
        if self._parts.link is None:
            return
        now_s = self._parts.clock.now_s()
        more = self._spending.count(self._parts.link.stats(), now_s=now_s)
        dial = self._parts.dial
        if dial is not None:
            dial.ledger.note(more["updates"] + more["rest"])
            policy = dial.look(
                num_seen=self._parts.sampler.counts.seen,
                update_bytes=self._spending.day_bytes("updates"),
            )
            if policy is not None:
                self._answering.take_policy(policy, newest=False)
            dial.ledger.keep(at_once=at_once)
        self._spending.keep(now_s=now_s, at_once=at_once)

    def _poll_s(self) -> float:
        dial, poll_s = self._parts.dial, self._settings.poll_s
        if dial is not None and "poll_s" not in self._settings.model_fields_set:
            poll_s = max(poll_s, dial.plan.poll_s)
        # A cloud with a large fleet has the last word, also over what the owner set.
        link = self._parts.link
        return poll_s if link is None else max(poll_s, link.stats().ask_after_s)

    def _take_pause(self) -> None:
        """Follow an operator's pause or resume."""
        since = self._parts.state_files.paused_since()
        was, self._paused_unix_s = self._paused_unix_s, since
        self._answering.paused = since is not None
        if (was is None) == (since is None):
            return
        _log.warning("daemon.resumed" if since is None else "daemon.paused", since_unix_s=since)
        if self._parts.link is not None:
            self._parts.link.hold(since is not None)

    def _take_rollback(self) -> None:
        version = self._parts.state_files.take_rollback()
        if version is not None:
            self._parts.applier.request_rollback(version)

    def _is_settled(self, link: DeviceLink) -> bool:
        try:
            lines = link.status().lines
        except LinkError:
            return False
        state = self._parts.applier.state
        if self._parts.spool.stats().num_samples or state.phase not in RESTING:
            return False
        failed = self._parts.applier.failed_versions
        ours = line_id(self._parts.pair_name, self._parts.runtime.base_model)
        return all(
            (each.round is None or each.round.state in CLOSED_ROUNDS)
            and (each.newest_version <= state.version or each.newest_version in failed)
            for each in lines
            if each.line == ours
        )

    def snapshot(self) -> Snapshot:
        """The daemon now."""
        return take_snapshot(
            self._parts,
            activity=self._activity,
            step=self._steps.number,
            segment=self._segment,
            num_broken_rows=self._num_broken_rows,
            num_files_left_out=self._num_files_left_out,
            feeds={} if self._source is None else feed_states(self._source),
            paused_unix_s=self._paused_unix_s,
        )
