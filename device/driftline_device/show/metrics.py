"""Prometheus: the snapshot as counters and gauges, read when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from driftline_device.daemon.snapshot import Snapshot

_Read = tuple[str, Callable[[Snapshot], float | None]]

COUNTERS: dict[str, _Read] = {
    "answered": ("Questions answered since the start.", lambda s: s.num_answered),
    "errors": ("Questions that got no answer.", lambda s: s.num_errors),
    "samples_seen": ("Answers considered for sending.", lambda s: s.num_seen),
    "samples_sent": ("Samples put into the spool.", lambda s: s.num_sent),
    "bytes_up": ("Bytes sent to the cloud.", lambda s: s.bytes_up),
    "bytes_down": ("Bytes taken from the cloud.", lambda s: s.bytes_down),
    "escalated": ("Answers about which the teacher was asked.", lambda s: _asked(s, "asked")),
    "corrections": ("Answers of the teacher that came.", lambda s: _asked(s, "corrected")),
    "corrections_agreeing": (
        "Those that say what the device said.",
        lambda s: _asked(s, "agreed"),
    ),
    "corrections_in_time": (
        "Those that a waiting request got as its answer.",
        lambda s: _asked(s, "in_time"),
    ),
    "sink_dropped": ("Events left out of full queues.", lambda s: _sum(s, "num_dropped")),
}
"""Since the start; `_total` is put behind their names."""

GAUGES: dict[str, _Read] = {
    "accuracy": ("Share of right answers in the window.", lambda s: s.accuracy),
    "uncertainty": ("Mean uncertainty in the window.", lambda s: s.uncertainty),
    "spool_samples": ("Samples that wait.", lambda s: s.spool.get("num_samples")),
    "spool_bytes": ("Bytes that wait.", lambda s: s.spool.get("num_bytes")),
    "escalated_waiting": (
        "Answers about which the teacher was asked and said nothing yet.",
        lambda s: _asked(s, "waiting"),
    ),
    "sink_waiting": ("Events that wait for sinks.", lambda s: _sum(s, "num_waiting")),
    "link_connected": ("1 if the cloud answers.", lambda s: s.link.get("connected")),
    "adapter_version": ("Adapter version in force.", lambda s: s.version),
    "p_ik_version": (
        "Adapter version that the P(IK) head in force was fitted for; -1 without one.",
        lambda s: -1 if s.p_ik_version is None else s.p_ik_version,
    ),
    "failed_versions": ("Versions that are never tried again.", lambda s: len(s.failed_versions)),
    "apply_pause_seconds": (
        "Newest pause for a swap.",
        lambda s: s.apply_pause_ms[-1] / 1000 if s.apply_pause_ms else None,
    ),
}


def _asked(snapshot: Snapshot, count: str) -> float | None:
    """None where the teacher is never asked."""
    return snapshot.escalation.get(count)


def _sum(snapshot: Snapshot, count: str) -> float | None:
    """Over all sinks; None where there are none."""
    return sum(each[count] for each in snapshot.sinks.values()) if snapshot.sinks else None


class SnapshotCollector:
    """Turns the newest snapshot into metrics named driftline_device_*."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """What is known."""
        now = self._snapshot()
        for name, (text, read) in COUNTERS.items():
            value = read(now)
            if value is not None:
                yield CounterMetricFamily(f"driftline_device_{name}", text, value=float(value))
        for name, (text, read) in GAUGES.items():
            value = read(now)
            if value is not None:
                yield GaugeMetricFamily(f"driftline_device_{name}", text, value=float(value))


@contextmanager
def serve_metrics(snapshot: Callable[[], Snapshot], *, host: str, port: int) -> Iterator[None]:
    """Serve the metrics on host:port as long as the block lasts; port 0 serves none."""
    if port == 0:
        yield
        return
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(snapshot))
    server, thread = start_http_server(port, addr=host, registry=registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5.0)
