"""Takes an update from the cloud's offer to the model that answers, and back again if it must.

    check -> fetch -> verify -> write the spare slot -> probe -> pointer -> swap -> watch -> trust

Each state is persisted before its work begins (phases.py, journal.py); a failed version is
remembered before anything else is done about it, and never tried again. The pointer in
slots/current.json is replaced before the swap, so what a restart loads is never older than what
has answered. One thread owns an Applier; only
`answered`, `errored`, `request_rollback` and the properties may be called by others.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from driftline_device.history.marks import MarksVerdict
from driftline_device.runtime.runtime import Answer, Question, Runtime
from driftline_device.updates import phases
from driftline_device.updates.admission import FORGIVEN, Holdings, check_manifest
from driftline_device.updates.heads import head_of
from driftline_device.updates.journal import Journal
from driftline_device.updates.owner_check import OwnerCheck, OwnersMarks
from driftline_device.updates.partners import Signatures, UpdateLink
from driftline_device.updates.phases import UpdateState
from driftline_device.updates.probe import Verdict, is_finite, judge, run_probe
from driftline_device.updates.rollback import Judged, Rollback
from driftline_device.updates.settings import UpdateSettings
from driftline_device.updates.slots import BASE_VERSION, Slots
from driftline_device.updates.watch import Watch, Watching, is_less_sure, uncertainty
from driftline_shared.callbacks import ignore
from driftline_shared.errors import CodecError, DriftlineError, LinkError, Reason, UpdateError
from driftline_shared.host.clock import Clock
from driftline_shared.host.durable import error_text
from driftline_shared.pair.pair import ProbeItem
from driftline_shared.update import Adapter, Manifest, adapter_digest
from driftline_shared.update_apply import apply_update

BEGIN_AGAIN = frozenset({Reason.BLOB_UNKNOWN, Reason.OFFSET_INVALID, Reason.UNKNOWN_DEVICE})
"""Errors of a fetch that say nothing about the version."""

_log = structlog.get_logger(__name__)


class Applier:
    """The updates of one device."""

    def __init__(
        self,
        *,
        state_dir: Path,
        runtime: Runtime,
        pair_name: str,
        token_space: str,
        probe_set: Sequence[ProbeItem],
        clock: Clock,
        settings: UpdateSettings | None = None,
        marks: OwnersMarks | None = None,
        signatures: Signatures | None = None,
    ) -> None:
        """`runtime` holds version 0; `recover` then brings it to what is in force. `marks`: what
        the owner said about answers; None: nothing. `signatures`: None: unsigned ones are taken.
        """
        self._signatures = signatures
        self._slots = Slots(state_dir / "slots")
        self._journal = Journal(state_dir, base_model=runtime.base_model, now_s=clock.now_s)
        self._runtime = runtime
        self._pair_name = pair_name
        self._token_space = token_space
        self._probe_set = probe_set
        self._clock = clock
        self._settings = settings or UpdateSettings()
        self._base = Judged(adapter=runtime.adapter(), ik_head=runtime.ik_head)
        self._held = self._base
        self._rollback = Rollback(
            self._slots, self._journal, base=self._base, base_model=runtime.base_model
        )
        self._owner_check = OwnerCheck(marks)
        self._newest_bytes = 0
        self._watch = Watch(self._settings.watch)
        self._watch_lock = threading.Lock()
        self._pending: Watching | Reason | None = None
        self._pending_version = BASE_VERSION
        self._alive = False
        self._refused: set[tuple[int, bytes, str]] = set()
        self._pauses_ms: deque[float] = deque(maxlen=1_000)
        self._steady = threading.Event()
        self._steady.set()
        self._early_errors = 0
        self.wake = threading.Event()

    # -- what others may ask ----------------------------------------------------------------------

    @property
    def state(self) -> UpdateState:
        """As last persisted."""
        return self._journal.state

    @property
    def failed_versions(self) -> list[int]:
        """Never tried again; rising."""
        return sorted(self._journal.failed_versions)

    @property
    def apply_pauses_ms(self) -> list[float]:
        """How long requests had to wait for each swap of this run."""
        return list(self._pauses_ms)

    @property
    def newest_marks(self) -> MarksVerdict:
        """What the newest update of this run made of the answers that the owner marked."""
        return self._owner_check.newest

    @property
    def newest_bytes(self) -> int:
        """Of the newest update of this run, 0 before the first."""
        return self._newest_bytes

    def answered(self, question: Question, answer: Answer) -> None:
        """Count an answer in the watch; cheap, for the thread that answers."""
        with self._watch_lock:
            self._note(self._watch.answered(question, answer))
            if self.state.num_starts and not self._alive:
                self._alive = True
                self.wake.set()

    def errored(self) -> None:
        """Count in the watch that the model raised an error instead of an answer."""
        with self._watch_lock:
            if not self._steady.is_set():
                self._early_errors += 1
            self._note(self._watch.failed())

    def wait_steady(self, timeout_s: float) -> bool:
        """Wait while a version is in force that is not under watch yet, for a disk may take its
        time to keep that it is; whether there is none.
        """
        return self._steady.wait(timeout_s)

    def take_settings(self, settings: UpdateSettings) -> None:
        """New limits: for updates from the next one on, for the watch from the next answer on."""
        with self._watch_lock:
            self._settings = settings
            self._watch.take_limits(settings.watch)

    def request_rollback(self, version: int) -> None:
        """An operator wants to leave `version`; nothing if it is not in force by then."""
        with self._watch_lock:
            self._pending = Reason.OPERATOR_ROLLBACK
            self._pending_version = version
        self.wake.set()

    # -- the work, for one thread -----------------------------------------------------------------

    def recover(self) -> None:
        """After a start: finish or undo what was under way, and load what is in force."""
        for _ in range(3):
            loaded = self._slots.recover(base_model=self._runtime.base_model)
            version = loaded.version if loaded else BASE_VERSION
            found = phases.restart(
                self.state, pointer=version, failed=self._journal.failed_versions
            )
            if found.fail is not None:
                reason = found.roll_back or Reason.PROBE_INTERRUPTED
                self._journal.remember(found.fail, reason)
            self._journal.settle(found.state)
            if found.roll_back is not None:
                self._leave(found.roll_back)
                continue
            try:
                self._load(self._rollback.judged(loaded), version)
            except DriftlineError as error:
                if version == BASE_VERSION:
                    raise
                _log.error("update.slot_does_not_run", version=version, error=str(error))
                self._journal.remember(version, Reason.PROBE_ERROR)
                self._leave(Reason.PROBE_ERROR)
                continue
            if self.state.watching:
                self._start_watch()
            return
        self._load(self._base, BASE_VERSION)

    def poll(self, link: UpdateLink) -> bool:
        """Deliver what waits, ask for something newer, install it; whether there was an offer.

        Raises LinkError if the cloud cannot be reached; nothing is lost by that.
        """
        if self.state.phase not in phases.RESTING:
            # An error (a full disk) cut the last attempt short: settle it as a restart would.
            self.recover()
        self.deliver(link)
        manifest = link.check(
            adapter_version=self.state.version, failed_versions=self.failed_versions
        )
        if self._signatures is not None and self._signatures.disowns(self.state.version):
            _log.error("update.disowned", version=self.state.version)
            self._journal.remember(self.state.version, Reason.NOT_SIGNED)
            self._leave(Reason.NOT_SIGNED, self._load)
            self.deliver(link)
            return True
        if manifest is None or manifest.target_version in self._journal.failed_versions:
            return False
        try:
            self.install(manifest, link)
        finally:
            self.deliver(link)
        return True

    def deliver(self, link: UpdateLink) -> None:
        """Deliver the reports, oldest first: one may arrive twice, none is lost. One that fails
        waits for the next time, and keeps no update from coming; the link has logged why.
        """
        with suppress(LinkError):
            while self.state.reports:
                link.report(self.state.reports[0])
                self._journal.settle(phases.delivered(self.state))

    def act(self) -> None:
        """Do what the watch or an operator asked for."""
        self.wake.clear()
        with suppress(OSError):  # logged when it was not taken first
            self._journal.retry()
            self._slots.retry()
        if self._alive and self.state.num_starts:
            self._journal.settle(phases.alive(self.state))
        with self._watch_lock:
            pending, self._pending = self._pending, None
            version, kept = self._pending_version, self._watch.kept()
        if pending is None or version != self.state.version:
            return
        if pending is Watching.SUSPECT and not self._confirm(kept):
            pending = Watching.TRUSTED
        if pending is Watching.TRUSTED:
            self._journal.settle(phases.trust(self.state))
            _log.info("update.trusted", version=version)
        elif version != BASE_VERSION:
            reasons = {Watching.SUSPECT: Reason.WATCH_UNSURE, Watching.ERRORS: Reason.WATCH_ERRORS}
            reason = pending if isinstance(pending, Reason) else reasons[pending]
            self._journal.remember(version, reason)
            # Loaded before the state says so: who sees that nothing is watched any more must not be
            # answered by the version that is left.
            self._leave(reason, self._load)

    def install(self, manifest: Manifest, link: UpdateLink) -> None:
        """One offer, to its end: active, failed, refused, or started again later."""
        if not self._accept(manifest):
            return
        version = manifest.target_version
        self._owner_check.forget()
        self._newest_bytes = manifest.blob_bytes
        self._journal.save(phases.begin(self.state, version))
        try:
            adapter = self._fetch(manifest, link)
            self._journal.save(phases.verify(self.state))
            slot = self._slots.write_spare(
                adapter,
                version=version,
                base_model=self._runtime.base_model,
                ik_head=head_of(manifest, in_force=self._held.ik_head),
            )
            # Read back: what a restart would load is what is probed.
            loaded = self._slots.load(slot, version, base_model=self._runtime.base_model)
            self._journal.save(phases.stage(self.state))
        except (LinkError, OSError) as error:
            # The link or the disk failed, not the version: it may be offered again.
            _log.warning("update.abandoned", version=version, error=str(error))
            self._journal.settle(phases.abandon(self.state))
            raise
        except DriftlineError as error:
            if error.reason in BEGIN_AGAIN:
                self._journal.settle(phases.abandon(self.state))
                raise
            self._fail(error.reason, str(error))
            return
        self._journal.save(phases.probe(self.state))
        verdict = self._probe(loaded.adapter)
        if verdict.reason in FORGIVEN:
            _log.warning("update.abandoned", version=version, error=verdict.detail)
            self._journal.settle(phases.abandon(self.state))
            return
        if verdict.reason is not None:
            self._fail(verdict.reason, verdict.detail, verdict.numbers)
            return
        self._activate(slot, self._rollback.judged(loaded), verdict)

    # -- steps ------------------------------------------------------------------------------------

    def _accept(self, manifest: Manifest) -> bool:
        holdings = Holdings(
            pair=self._pair_name,
            base_model=self._runtime.base_model,
            token_space=self._token_space,
            version=self.state.version,
            digest=adapter_digest(self._held.adapter),
        )
        try:
            check_manifest(
                manifest, holdings, limits=self._settings.sizes, now_unix_s=self._clock.now_s()
            )
            if self._signatures is not None:
                self._signatures.check(manifest)
            self._owner_check.ready()
        except UpdateError as error:
            self._refuse(manifest, error)
            return False
        return True

    def _refuse(self, manifest: Manifest, error: UpdateError) -> None:
        version = manifest.target_version
        key = (version, manifest.blob_digest, error.reason)
        if key in self._refused or version < 0:
            return
        self._refused.add(key)
        _log.warning("update.refused", version=version, reason=error.reason, error=str(error))
        if error.reason not in FORGIVEN:
            self._journal.remember(version, error.reason)
        self._journal.settle(phases.refuse(self.state, version, error.reason, str(error)))

    def _fetch(self, manifest: Manifest, link: UpdateLink) -> Adapter:
        try:
            return apply_update(self._held.adapter, manifest, link.fetch(manifest))
        except (UpdateError, CodecError) as error:
            if error.reason is not Reason.DIGEST_MISMATCH:
                raise
        # The bytes may have broken on the way: once more.
        _log.warning("update.fetched_again", version=manifest.target_version)
        return apply_update(self._held.adapter, manifest, link.fetch(manifest))

    def _probe(self, adapter: Adapter) -> Verdict:
        if not is_finite(adapter):
            return Verdict(
                reason=Reason.PROBE_NOT_FINITE, detail="a weight is not finite", numbers={}
            )
        try:
            with self._runtime.trial(adapter) as candidate:
                active, measured = run_probe(
                    self._runtime, candidate, self._probe_set, limits=self._settings.probe
                )
                verdict = judge(active, measured, self._settings.probe)
                return self._owner_check.judge(self._runtime, candidate, verdict)
        except Exception as error:
            # Whatever a new version makes the model raise, the device must not die of it.
            _log.exception("update.probe_raised")
            return Verdict(reason=Reason.PROBE_ERROR, detail=_short(error), numbers={})

    def _activate(self, slot: str, candidate: Judged, verdict: Verdict) -> None:
        version = self.state.target
        try:
            self._slots.activate(slot, version)
        except OSError as error:
            _log.warning("update.abandoned", version=version, error=error_text(error))
            self._journal.settle(phases.abandon(self.state))
            raise
        self._early_errors = 0
        self._steady.clear()
        try:
            self._swap(candidate, version, verdict)
        finally:
            self._steady.set()

    def _swap(self, candidate: Judged, version: int, verdict: Verdict) -> None:
        try:
            pause_ms = self._load(candidate, version)
        except Exception as error:
            _log.exception("update.swap_raised")
            self._journal.remember(version, Reason.PROBE_ERROR)
            self._slots.fall_back(base_model=self._runtime.base_model)
            self._load(*self._rollback.in_force())
            self._fail(Reason.PROBE_ERROR, _short(error))
            return
        self._pauses_ms.append(pause_ms)
        numbers = {**verdict.numbers, "apply_pause_ms": pause_ms}
        self._journal.settle(phases.activate(self.state, numbers))
        self._start_watch()
        _log.info("update.applied", version=version, pause_ms=round(pause_ms, 3))

    def _start_watch(self) -> None:
        with self._watch_lock:
            self._watch.start(self.state.version, num_errors=self._early_errors)
            self._early_errors = 0
            self._pending = None

    def _confirm(self, kept: list[tuple[Question, float]]) -> bool:
        """Whether the version in force is far less sure than the earlier one on `kept`."""
        old: list[float] = []
        try:
            with self._runtime.trial(self._rollback.earlier()) as trial:
                for question, _ in kept:
                    old += [uncertainty(answer) for answer in trial.answer([question])]
        except DriftlineError as error:
            _log.error("update.cannot_confirm", error=str(error))
            return False
        return is_less_sure([score for _, score in kept], old, self._settings.watch)

    def _leave(self, reason: Reason, load: Callable[[Judged, int], object] = ignore) -> None:
        """Roll back, and `load` what is in force then, or leave that to the caller."""
        with self._watch_lock:
            self._watch.stop()
        self._rollback.leave(reason, load)

    def _load(self, wanted: Judged, version: int) -> float:
        pause_ms = 0.0
        if version != self._runtime.version or wanted.adapter is not self._held.adapter:
            pause_ms = self._runtime.swap(wanted.adapter, version, wanted.ik_head)
        self._held = wanted
        return pause_ms

    def _fail(self, reason: Reason, detail: str, numbers: dict[str, float] | None = None) -> None:
        version = self.state.target
        _log.warning("update.failed", version=version, reason=reason, detail=detail)
        self._journal.remember(version, reason)
        self._journal.settle(phases.fail(self.state, reason, detail, numbers))

    def _note(self, watching: Watching) -> None:
        if watching in (Watching.TRUSTED, Watching.SUSPECT, Watching.ERRORS):
            if not isinstance(self._pending, Reason):
                # What an operator asked for is not overruled.
                self._pending = watching
                self._pending_version = self.state.version
            if watching is not Watching.ERRORS:
                self._watch.pause()
            self.wake.set()


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]
