"""What a cloud keeps of a run that is over, read from its state: rounds, versions, samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from driftline_cloud.intake import tables
from driftline_cloud.intake.counts import DROPPED
from driftline_cloud.intake.database import Database
from driftline_cloud.release.manifests import update_bytes
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.rounds.round import Round, RoundState
from driftline_lab.runs.run import RunRound, RunUpdate, TimelineRow
from driftline_shared.status import UpdateOutcome
from driftline_shared.tokens import Sample
from driftline_shared.wire import load_sample

MOST_ROUNDS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """A stored sample, and what the teacher said to it ("" if no round asked)."""

    sample: Sample
    teacher: str
    num_bytes: int


def rounds_of(
    database: Database, line: str, answer_numbers: Mapping[bytes, int]
) -> tuple[RunRound, ...]:
    """The rounds of `line` in turn. `answer_numbers`: by sample id, the answer it was made of."""
    ledger = RoundLedger(database)
    rounds = reversed(ledger.newest(line, limit=MOST_ROUNDS))
    return tuple(
        _run_round(each, [answer_numbers.get(one) for one in ledger.claimed(each.id)])
        for each in rounds
    )


def updates_of(
    releases: Path,
    line: str,
    timeline: Sequence[TimelineRow],
    refused: Mapping[int, str] | None = None,
) -> tuple[RunUpdate, ...]:
    """The versions of `line`, with the place of `timeline` from which on each answered.

    `refused`: by version, why a device did not keep it.
    """
    registry = ReleaseRegistry(releases)
    found = []
    for version in range(1, registry.newest_version(line) + 1):
        manifest = registry.manifest(line, version)
        found.append(
            RunUpdate(
                version=version,
                digest=manifest.target_digest.hex(),
                bytes=update_bytes(manifest),
                at=next((row.n - 1 for row in timeline if row.version >= version), None),
                refused=(refused or {}).get(version, ""),
            )
        )
    return tuple(found)


def refusals_of(database: Database, line: str) -> dict[int, str]:
    """By version of `line` that was not kept in the end: why, in the last device's words."""
    reports = tables.reports
    query = (
        select(reports.c.version, reports.c.outcome, reports.c.reason, reports.c.detail)
        .where(reports.c.line == line)
        .order_by(reports.c.sequence)
    )
    with database.read() as connection:
        last = {row.version: row for row in connection.execute(query)}
    return {
        version: ": ".join(filter(None, (row.reason, row.detail)))
        for version, row in last.items()
        if row.outcome != UpdateOutcome.APPLIED
    }


def labelled_samples(database: Database, ids: Sequence[bytes]) -> dict[bytes, Labelled]:
    """The samples of `ids` that are still stored, by id."""
    samples, labels = tables.samples, tables.labels
    found = {}
    with database.read() as connection:
        for one in ids:
            body = connection.scalar(
                select(samples.c.body).where(samples.c.id == one, samples.c.state != DROPPED)
            )
            label = connection.scalar(select(labels.c.label).where(labels.c.sample_id == one))
            if body is not None:
                found[one] = Labelled(
                    sample=load_sample(bytes(body)),
                    teacher=str(label["text"]) if label else "",
                    num_bytes=len(body),
                )
    return found


def _run_round(round_: Round, numbers: Sequence[int | None]) -> RunRound:
    # Until a round ends otherwise, its reason is what triggered it.
    triggered = round_.is_open or round_.state is RoundState.DONE
    return RunRound(
        number=round_.number,
        state=str(round_.state),
        num_samples=round_.num_samples,
        trigger=round_.reason if triggered else "",
        reason="" if triggered else round_.reason,
        at=max((number for number in numbers if number is not None), default=None),
        numbers=dict(round_.numbers),
    )
