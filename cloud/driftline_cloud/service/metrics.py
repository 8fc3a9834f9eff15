"""The cloud's metrics for Prometheus, on a port of its own."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence
from contextlib import suppress
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from driftline_cloud.rounds.board import WORKER_STATES
from driftline_cloud.rounds.round import RoundState
from driftline_shared.errors import ConfigError
from driftline_shared.status import Correction, LineStatus, SampleAck, UpdateReport


class CloudMetrics:
    """Counters and gauges in a registry of their own, so that two clouds fit one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._samples = Counter(
            "driftline_cloud_samples",
            "Samples received, by line, verdict and reason",
            ["line", "verdict", "reason"],
            registry=self.registry,
        )
        self._up_bytes = Counter(
            "driftline_cloud_uplink_bytes", "Bytes of sample batches", registry=self.registry
        )
        self._down_bytes = Counter(
            "driftline_cloud_downlink_bytes", "Bytes of update blobs sent", registry=self.registry
        )
        self._reports = Counter(
            "driftline_cloud_reports",
            "Updates as devices report them",
            ["line", "outcome", "reason"],
            registry=self.registry,
        )
        self._rounds = Counter(
            "driftline_cloud_rounds",
            "Rounds that are over",
            ["line", "state"],
            registry=self.registry,
        )
        self._turned_away = Counter(
            "driftline_cloud_turned_away",
            "Enrolments that were refused, by reason",
            ["reason"],
            registry=self.registry,
        )
        self._escalated = Counter(
            "driftline_cloud_escalated",
            "Samples that want the teacher's answer, by why none follows (empty: it does)",
            ["reason"],
            registry=self.registry,
        )
        self._corrections = Counter(
            "driftline_cloud_corrections",
            "Answers of the teacher sent to devices, by why there is none (empty: there is)",
            ["reason"],
            registry=self.registry,
        )
        self._gauges = {
            name: Gauge(f"driftline_cloud_{name}", text, ["line"], registry=self.registry)
            for name, text in (
                ("waiting_samples", "Samples that no round has used"),
                ("quarantined_samples", "Samples set apart: no round can work on them"),
                ("newest_version", "Newest adapter version"),
                ("devices", "Enrolled devices"),
                ("round_progress_ratio", "Share done of the present state of the open round, 0..1"),
            )
        }
        self._workers = Gauge(
            "driftline_cloud_workers",
            "Workers as they last said, by line and state",
            ["line", "state"],
            registry=self.registry,
        )
        self._round_state = Gauge(
            "driftline_cloud_round_state",
            "1 for the state of the newest round of a line",
            ["line", "state"],
            registry=self.registry,
        )

    def count_batch(self, num_bytes: int, acks: Sequence[SampleAck], line: str) -> None:
        """One batch of samples and what became of them."""
        self._up_bytes.inc(num_bytes)
        for (verdict, reason), count in Tally((a.verdict, a.reason) for a in acks).items():
            self._samples.labels(line=line, verdict=str(verdict), reason=reason).inc(count)
        for ack in acks:
            if ack.answer_follows or ack.no_answer:
                self._escalated.labels(reason=ack.no_answer).inc()

    def count_corrections(self, corrections: Sequence[Correction]) -> None:
        """Corrections that were sent, the same one on each stream until it is seen."""
        for correction in corrections:
            self._corrections.labels(reason=correction.no_answer).inc()

    def count_down(self, num_bytes: int) -> None:
        """Bytes of a blob that were sent."""
        self._down_bytes.inc(num_bytes)

    def count_report(self, report: UpdateReport, line: str, known_reason: bool) -> None:
        """One report; a reason that we do not know counts as `other`, so labels stay few."""
        reason = report.reason if known_reason else "other"
        self._reports.labels(line=line, outcome=str(report.outcome), reason=reason).inc()

    def count_round(self, line: str, state: str) -> None:
        """One round that is over."""
        self._rounds.labels(line=line, state=state).inc()

    def count_turned_away(self, reason: str) -> None:
        """One enrolment that was refused, for a reason of ours."""
        self._turned_away.labels(reason=reason).inc()

    def show_line(self, status: LineStatus) -> None:
        """The gauges of a line."""
        values = {
            "waiting_samples": status.num_waiting,
            "newest_version": status.newest_version,
            "quarantined_samples": status.num_quarantined,
            "devices": status.num_devices,
            "round_progress_ratio": 0.0 if status.round is None else status.round.progress,
        }
        for name, value in values.items():
            self._gauges[name].labels(line=status.line).set(value)
        # Every state has its series, so that a rule sees a zero where nobody is.
        of_workers = Tally(each.state for each in status.workers)
        for state in WORKER_STATES:
            self._workers.labels(line=status.line, state=state).set(of_workers[state])
        now = None if status.round is None else status.round.state
        for round_state in RoundState:
            self._round_state.labels(line=status.line, state=round_state).set(now == round_state)

    def forget_line(self, line: str) -> None:
        """No gauge of a line that is dropped; its counters stay, as counters do."""
        for gauge in self._gauges.values():
            _remove(gauge, line)
        for state in WORKER_STATES:
            _remove(self._workers, line, state)
        for round_state in RoundState:
            _remove(self._round_state, line, round_state)

    def serve(self, host: str, port: int) -> WSGIServer:
        """Answer `/metrics` on `host`:`port` in a thread (0: a free port) until shut down."""
        try:
            server, _thread = start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            raise ConfigError(
                f"metrics cannot listen on {host}:{port}: {error.strerror or error}",
                fix="Stop what runs there, or name another with --metrics-port (0: none).",
            ) from error
        return server


def _remove(gauge: Gauge, *labels: str) -> None:
    with suppress(KeyError):
        gauge.remove(*labels)
