"""What a replay measures, kept as it goes: nothing here grows with the trace but the timeline's
file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from driftline_lab.replay.cloud.side import CloudSummary
from driftline_lab.replay.device.device import Given, ReplayDevice
from driftline_lab.replay.records import Recorded
from driftline_lab.replay.rounds import Opened
from driftline_lab.runs.canonical import from_bytes, to_bytes
from driftline_lab.runs.domains import in_order
from driftline_lab.runs.run import (
    DomainAccuracy,
    Metrics,
    RunRound,
    RunUpdate,
    TimelineRow,
    UplinkTotals,
)
from driftline_shared.exact_match import is_correct


class Tally:
    """Counts answers, and writes a line for each into the file `timeline`."""

    def __init__(self, timeline: Path) -> None:
        self._path = timeline
        self._file = timeline.open("wb")
        self._known: Counter[str] = Counter()
        self._right_before: Counter[str] = Counter()
        self._right_after: Counter[str] = Counter()
        self.num_answers = 0
        self.num_sent = 0
        self.num_repeated = 0

    def repeated(self) -> None:
        """Count a row that was passed over: a cloud's, of a sample that is replayed once."""
        self.num_repeated += 1

    def answered(self, record: Recorded, given: Given) -> None:
        """Count one answer of the replay."""
        self.num_answers += 1
        self.num_sent += given.sent
        correct = None
        if record.reference is not None:
            correct = is_correct(given.text, record.reference)
            self._known[record.domain] += 1
            self._right_before[record.domain] += is_correct(record.answer, record.reference)
            self._right_after[record.domain] += correct
        row = TimelineRow(
            n=self.num_answers,
            segment=record.segment,
            domain=record.domain,
            correct=correct,
            uncertainty=given.uncertainty,
            version=given.version,
            sent=given.sent,
            bytes=given.num_bytes,
        )
        self._file.write(to_bytes(row, indent=None))

    def accuracy(self) -> dict[str, DomainAccuracy]:
        """By domain as the trace met them: `before` of the recorded answers, `after` of the
        replay's own.
        """
        return {
            domain: DomainAccuracy(
                before=self._right_before[domain] / known,
                after=self._right_after[domain] / known,
                num_questions=known,
            )
            for domain, known in self._known.items()
        }

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def timeline(self) -> Iterator[TimelineRow]:
        """The lines of the file, once it is closed."""
        with self._path.open("rb") as file:
            for line in file:
                yield from_bytes(line, TimelineRow, place=self._path.name)


def metrics_of(
    tally: Tally,
    cloud: CloudSummary,
    devices: Collection[ReplayDevice],
    opened: dict[int, Opened],
    *,
    virtual_s: float,
    settled: bool,
) -> Metrics:
    """All that is the same each time, of one replay."""
    counts = [device.uplink_counts for device in devices]
    updates = [update for device in devices for update in device.in_force]
    numbers = {
        "virtual_s": virtual_s,
        "settled": float(settled),
        "devices": float(len(devices)),
        "samples.repeated": float(tally.num_repeated),
        "samples.stored": float(cloud.num_samples),
        "samples.waiting": float(cloud.num_waiting),
        "samples.evicted": float(sum(device.num_evicted for device in devices)),
        "updates.bytes": float(sum(update.num_bytes for update in updates)),
        "version.newest": float(cloud.newest_version),
    }
    for name in (
        "num_batches",
        "num_duplicates",
        "num_refused",
        "num_retried",
        "num_resent_bytes",
        "wait_s",
    ):
        numbers[f"uplink.{name}"] = float(sum(getattr(each, name) for each in counts))
    metrics = Metrics(
        accuracy=tally.accuracy(),
        uplink=UplinkTotals(
            seen=tally.num_answers,
            sent=tally.num_sent,
            bytes=sum(each.num_bytes for each in counts),
        ),
        rounds=tuple(
            RunRound(
                number=each.number,
                state=each.state,
                num_samples=each.num_samples,
                trigger=opened[each.number].trigger if each.number in opened else "",
                # Until a round ends otherwise, its reason is what triggered it.
                reason=""
                if each.number in opened and each.reason == opened[each.number].trigger
                else each.reason,
                at=opened[each.number].at if each.number in opened else None,
                numbers=each.numbers,
            )
            for each in cloud.rounds
        ),
        updates=tuple(
            RunUpdate(version=each.version, digest=each.digest, bytes=each.num_bytes, at=each.at)
            for each in updates
        ),
        numbers=numbers,
    )
    return in_order(metrics, list(metrics.accuracy))
