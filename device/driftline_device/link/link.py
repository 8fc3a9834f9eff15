"""The link: everything between this device and its cloud, in two threads that never give up.

    driftline-link     enrols, polls the policy, watches over overdue acks
    driftline-uplink   runs one stream of samples after another while there is something to send

Updates call `check`, `fetch` and `report` from a thread of their own. Offline, all of it waits with
backoff, the spool fills, and the device goes on answering.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from driftline_device.link.answers import Answers
from driftline_device.link.channel import RenewableChannel, open_channel
from driftline_device.link.control import enrol, get_policy
from driftline_device.link.counters import Counters
from driftline_device.link.downlink import Downlink, MetadataTaker
from driftline_device.link.identity import Identity
from driftline_device.link.questions import Questions
from driftline_device.link.settings import LinkSettings, LinkStats
from driftline_device.link.uplink import AckWatch, Uplink
from driftline_device.sampling.budget_ledger import Ledger
from driftline_device.sampling.budget_plan import ASK_BYTES
from driftline_device.spool.spool import Spool
from driftline_shared.callbacks import ignore
from driftline_shared.errors import DriftlineError, LinkError, Reason
from driftline_shared.host.clock import Clock, SystemClock
from driftline_shared.program.proxies import proxy_for
from driftline_shared.retry import delays
from driftline_shared.rpc.status import get_status
from driftline_shared.status import CloudStatus, Enrolment, UpdateReport, Welcome
from driftline_shared.tokens import SamplingPolicy
from driftline_shared.update import Manifest

_log = structlog.get_logger(__name__)


class Link:
    """One device's link. `enrolment` is asked at every enrolment, for the version of that moment.

    `folder` holds downloads. `identity`: of a device that was enrolled with a cloud that has an
    authority. `signatures`: takes the signed metadata of updates.
    `answers`: who waits for the teacher's. `on_policy` is called from a thread of the
    link with every policy that differs from the one before, `watch_acks` as of `Uplink`.
    """

    def __init__(
        self,
        settings: LinkSettings,
        enrolment: Callable[[], Enrolment],
        spool: Spool,
        *,
        folder: Path,
        on_policy: Callable[[SamplingPolicy], None] = ignore,
        answers: Answers | None = None,
        watch_acks: AckWatch = ignore,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        ledger: Ledger | None = None,
        identity: Identity | None = None,
        signatures: MetadataTaker | None = None,
    ) -> None:
        self._settings = settings
        self._enrolment = enrolment
        self._spool = spool
        self._on_policy = on_policy
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._counters = Counters()
        self._questions = Questions(ledger, self._counters)
        self._stop = threading.Event()
        self._enrolled = threading.Event()
        self._wake_control = threading.Event()
        self._wake_uplink = threading.Event()
        self._failing: set[str] = set()
        self._policy: SamplingPolicy | None = None
        self._policy_due_s = 0.0
        self._newest_version = 0
        if (proxy := proxy_for(settings.address)) is not None:
            _log.info("link.through_proxy", address=settings.address, proxy=proxy)
        self._identity = identity
        self._channel = RenewableChannel(
            lambda: open_channel(
                settings.address, None if identity is None else identity.credentials
            )
        )
        self._answers = answers
        self._ask_due_s = 0.0
        self._uplink = Uplink(
            spool,
            settings,
            self._counters,
            clock=self._clock,
            rng=self._rng,
            ledger=ledger,
            answers=answers,
            watch=watch_acks,
        )
        self._downlink = Downlink(
            self._channel, lambda: enrolment().device_id, folder / "downloads", settings,
            self._counters, clock=self._clock, rng=self._rng, stop=self._stop,
            questions=self._questions, signatures=signatures,
        )  # fmt: skip
        self._threads = [
            threading.Thread(target=self._run_control, name="driftline-link", daemon=True),
            threading.Thread(target=self._run_uplink, name="driftline-uplink", daemon=True),
        ]

    # -- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; returns at once, whether the cloud is there or not."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End within `timeout_s`: acks under way get half of it. Whether all threads have ended.

        What is not acked stays in the spool. To be called before the spool is closed.
        """
        self._stop.set()
        self.wake()
        started = [thread for thread in self._threads if thread.ident is not None]
        deadline_s = self._clock.monotonic_s() + timeout_s
        for thread in started:
            thread.join(timeout_s / 4)
        self._uplink.cancel()
        self._channel.close()
        for thread in started:
            thread.join(max(0.05, deadline_s - self._clock.monotonic_s()))
        return not any(thread.is_alive() for thread in started)

    def wake(self) -> None:
        """There is something to send: no need to wait for the next poll."""
        self._wake_control.set()
        self._wake_uplink.set()
        self._uplink.wake()

    def hold(self, held: bool) -> None:
        """Hold samples back, or let them go again; the device stays enrolled all the while."""
        self._uplink.hold(held)
        self.wake()

    def flush(self, timeout_s: float) -> bool:
        """Wait until no sample is left to send, at most `timeout_s`; whether that is so."""
        deadline_s = self._clock.monotonic_s() + timeout_s
        self.wake()
        while self._spool.stats().num_samples:
            remaining_s = deadline_s - self._clock.monotonic_s()
            if remaining_s <= 0 or self._clock.wait(self._stop, min(0.05, remaining_s)):
                return False
        return True

    def stats(self) -> LinkStats:
        """The link now."""
        counters = self._counters
        return LinkStats(
            connected=self._is_connected(),
            last_error=counters.last_error(but=["uplink"] if self._uplink.is_working else []),
            bytes_up=counters["bytes_up"],
            bytes_down=counters["bytes_down"],
            update_bytes=counters["update_bytes"],
            bytes_asked=counters["bytes_asked"],
            num_sent=counters["num_sent"],
            num_acked=counters["num_acked"],
            num_refused=counters["num_refused"],
            num_retried=counters["num_retried"],
            num_reconnects=counters["num_reconnects"],
            num_in_flight=self._uplink.num_in_flight,
            newest_version=self._newest_version,
            ask_after_s=self._downlink.ask_after_s,
        )

    def _is_connected(self) -> bool:
        if self._stop.is_set() or not self._enrolled.is_set() or "control" in self._failing:
            return False
        return "uplink" not in self._failing or self._uplink.is_working

    # -- updates: called from the updates' thread -------------------------------------------------

    def check(self, *, adapter_version: int, failed_versions: Sequence[int]) -> Manifest | None:
        """Something newer than `adapter_version` that is not among `failed_versions`, or None."""
        with self._noting("check"):
            manifest = self._downlink.check(
                base_model=self._enrolment().base_model,
                adapter_version=adapter_version,
                failed_versions=failed_versions,
            )
        if manifest is not None:
            self._newest_version = max(self._newest_version, manifest.target_version)
        else:
            self._counters.works("fetch")  # nothing is to be fetched any more
        return manifest

    def fetch(self, manifest: Manifest) -> bytes:
        """The blob that `manifest` names, resumed over breaks; errors as of `Downlink.fetch`."""
        with self._noting("fetch"):
            return self._downlink.fetch(manifest.blob_digest, manifest.blob_bytes)

    def status(self) -> CloudStatus:
        """The cloud now; `LinkError` if it cannot be reached."""
        return get_status(self._channel, timeout_s=self._settings.call_timeout_s)

    def report(self, report: UpdateReport) -> None:
        """Deliver `report`; one that the cloud can never read is dropped, or it would block the
        rest.
        """
        with self._noting("report"):
            try:
                self._downlink.report(report)
            except LinkError as error:
                if error.reason is not Reason.MESSAGE_INVALID:
                    raise
                _log.error("report.refused", version=report.version, error=str(error))

    @contextmanager
    def _noting(self, call: str) -> Iterator[None]:
        try:
            yield
        except LinkError as error:
            self._note(call, error)
            raise
        self._counters.works(call)

    # -- threads ----------------------------------------------------------------------------------

    def _run_control(self) -> None:
        waits = delays(self._settings.backoff, self._rng)
        while not self._stop.is_set():
            try:
                self._tick()
            except Exception as error:
                if self._stop.is_set():
                    break
                self._note("control", _as_ours(error))
                # Not to be woken: a device with much to say must not defeat the backoff.
                self._clock.wait(self._stop, self._pause_s(error, waits))
                continue
            self._works("control")
            waits = delays(self._settings.backoff, self._rng)
            self._clock.wait(self._wake_control, self._settings.poll_s)
            self._wake_control.clear()

    def _pause_s(self, error: Exception, waits: Iterator[float]) -> float:
        """Seconds after a failure: a cloud that serves the pair no longer is asked now and then."""
        if isinstance(error, LinkError) and error.reason is Reason.LINE_DROPPED:
            return self._rng.uniform(0.5, 1.0) * self._settings.dropped_s
        return next(waits)

    def _tick(self) -> None:
        """What is due now; raises at the first thing that fails."""
        self._uplink.expire()
        now_s, timeout_s = self._clock.monotonic_s(), self._settings.call_timeout_s
        self._renew(now_s)
        if not self._enrolled.is_set():
            if not self._questions.has_room(ASK_BYTES):
                return
            with self._questions.asked(ASK_BYTES):
                welcome = enrol(self._channel, self._enrolment(), timeout_s=timeout_s)
            self._welcome(welcome)
            self._policy_due_s = now_s + self._settings.policy_s
        if now_s >= self._policy_due_s:
            if not self._questions.has_room(ASK_BYTES):
                return
            device_id = self._enrolment().device_id
            with self._questions.asked(ASK_BYTES):
                policy = get_policy(self._channel, device_id, timeout_s=timeout_s)
            self._adopt(policy)
            self._policy_due_s = now_s + self._settings.policy_s

    def _renew(self, monotonic_s: float) -> None:
        """A certificate that could not be renewed holds nothing up while the old one is good."""
        identity = self._identity
        if identity is None:
            return
        try:
            if identity.renew(
                self._channel,
                now_s=self._clock.now_s(),
                monotonic_s=monotonic_s,
                timeout_s=self._settings.call_timeout_s,
            ):
                self._channel.renew()
                self._counters.works("identity")
        except LinkError as error:
            if not identity.is_good:
                raise
            self._note("identity", error)

    def _welcome(self, welcome: Welcome) -> None:
        _log.info("link.enrolled", cloud_id=welcome.cloud_id, newest_version=welcome.newest_version)
        self._newest_version = welcome.newest_version
        self._adopt(welcome.policy)
        self._enrolled.set()

    def _adopt(self, policy: SamplingPolicy) -> None:
        if policy != self._policy:
            self._policy = policy
            _log.info("policy.adopted", revision=policy.revision)
            self._on_policy(policy)

    def _run_uplink(self) -> None:
        waits = delays(self._settings.backoff, self._rng)
        while not self._stop.is_set():
            try:
                if not self._can_send():
                    self._failing.discard("uplink")
                    self._counters.works("uplink")
                    self._clock.wait(self._wake_uplink, self._settings.poll_s)
                    self._wake_uplink.clear()
                    continue
                enrolment = self._enrolment()
                self._uplink.run(
                    self._channel, enrolment.device_id, enrolment.token_space, self._stop
                )
                self._works("uplink")
            except Exception as error:
                if self._stop.is_set():
                    break
                self._note("uplink", _as_ours(error))
                self._counters.add(num_reconnects=1)
                self._ask_due_s = 0.0  # what it was open for may come with the next stream
                if self._uplink.last_progress:
                    waits = delays(self._settings.backoff, self._rng)
                self._clock.wait(self._stop, next(waits))

    def _can_send(self) -> bool:
        if self._uplink.held or not self._enrolled.is_set():
            return False
        return self._uplink.may_send() or self._may_be_due()

    def _may_be_due(self) -> bool:
        """Whether to open a stream for answers that are owed, without a sample to send."""
        if self._answers is None or not self._answers.owed:
            return False
        now_s = self._clock.monotonic_s()
        if now_s < self._ask_due_s:
            return False
        self._ask_due_s = now_s + self._settings.owed_s
        return True

    def _works(self, who: str) -> None:
        self._counters.works(who)
        if who in self._failing:
            self._failing.discard(who)
            _log.info("link.works_again", who=who)

    def _note(self, who: str, error: DriftlineError) -> None:
        """Remember and log a failure; where the cloud does not know this device, enrol anew."""
        if error.reason is Reason.UNKNOWN_DEVICE and not self._enrolled.is_set():
            # Said to a call that was quicker than the enrolment which is under way: no failure.
            _log.debug("link.not_enrolled_yet", who=who)
            return
        self._counters.note(who, error)
        if who in ("control", "uplink"):
            self._failing.add(who)
        if error.reason is Reason.UNKNOWN_DEVICE and not self._stop.is_set():
            self._enrolled.clear()
            self._wake_control.set()
        if error.reason is Reason.NOT_ENROLLED and self._identity is not None:
            self._identity.doubt()
        _log.warning("link.failed", who=who, reason=error.reason, error=str(error), fix=error.fix)


def _as_ours(error: Exception) -> DriftlineError:
    """Any other exception is a fault of ours: logged with its trace, and the thread goes on."""
    if isinstance(error, DriftlineError):
        return error
    _log.exception("link.fault")
    return LinkError(f"{type(error).__name__}: {error}", reason=Reason.INTERNAL)
