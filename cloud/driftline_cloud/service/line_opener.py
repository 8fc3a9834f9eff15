"""What serves one line, put together from its row: needs neither torch nor Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from driftline_cloud.config import CloudConfig
from driftline_cloud.corrections.store import CorrectionStore
from driftline_cloud.identity import check_versions
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.devices import DeviceRegister
from driftline_cloud.intake.intake import Intake, SampleWatch
from driftline_cloud.intake.line import Line
from driftline_cloud.intake.store import SampleStore
from driftline_cloud.lines.book import KnownLine
from driftline_cloud.lines.pairs import named_line
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rollout.store import RolloutStore
from driftline_cloud.rounds.board import Board
from driftline_cloud.rounds.ended import RoundsEnded
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.rounds.opening import RoundOpening
from driftline_cloud.service.lines import ServedLine
from driftline_cloud.service.recording import open_cloud_trace
from driftline_cloud.service.spans import IntakeSpans
from driftline_shared.callbacks import ignore
from driftline_shared.codec.tokens import check_codec
from driftline_shared.host.clock import Clock
from driftline_shared.pair.pair import Pair
from driftline_shared.pair.text_room import text_rooms
from driftline_shared.spans.spans import Spans
from driftline_shared.status import SampleAck
from driftline_shared.tokens import SamplingPolicy
from driftline_shared.wire import EncodedSample

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class LineOpener:
    """Puts together what serves one line, from what all lines share. `pair`: by the name of a row;
    `first`: the line of the configured pair.
    """

    config: CloudConfig
    pair: Callable[[str], Pair]
    clock: Clock
    database: Database
    devices: DeviceRegister
    store: SampleStore
    ledger: RoundLedger
    registry: ReleaseRegistry
    corrections: CorrectionStore
    first: str
    spans: Spans | None = None

    def open(self, row: KnownLine) -> ServedLine:
        """The part of the line of `row`. Raises DriftlineError kinds."""
        config, clock, registry = self.config, self.clock, self.registry
        pair = self.pair(config.pair if row.id == self.first else row.pair)
        line = named_line(pair, row.id)
        registry.ensure_fork(line, row.parent, row.forked_version)
        check_versions(registry, self.database, line.id)
        registry.know_line(line)
        policy = self.devices.put_policy(line.id, policy_of(pair, config))
        folder = config.trace.folder
        if folder is not None and row.id != self.first:
            folder = folder / row.id
        trace = open_cloud_trace(
            config.trace.model_copy(update={"folder": folder}),
            line,
            seed=config.rounds.seed,
            policy=policy,
            registry=registry,
            clock=clock,
        )
        watches = [] if trace is None else [trace.sample]
        if self.spans is not None:
            watches.append(IntakeSpans(self.spans, line.id, clock).sample)
        intake = Intake(
            line=line,
            devices=self.devices,
            store=self.store,
            quota=config.quota,
            gate_score=policy.gate_score,
            clock=clock,
            rooms=text_rooms(pair),
            limits=config.admission,
            images_may_leave=policy.images_may_leave,
            watch=_all(watches),
            ask=self.corrections.ask,
        )
        return ServedLine(
            row=row,
            line=line,
            intake=intake,
            policy=policy,
            opening=opening_of(config, self.database, registry, line, clock),
            board=Board(database=self.database, line=line.id, clock=clock),
            ended=RoundsEnded(self.ledger, line.id),
            trace=trace,
        )


def _all(watches: Sequence[SampleWatch]) -> SampleWatch:
    """One that calls each of `watches`."""
    if len(watches) < 2:
        return watches[0] if watches else ignore

    def watch(device_id: str, body: bytes, sample: EncodedSample | None, ack: SampleAck) -> None:
        for each in watches:
            each(device_id, body, sample, ack)

    return watch


def opening_of(
    config: CloudConfig, database: Database, registry: ReleaseRegistry, line: Line, clock: Clock
) -> RoundOpening:
    """What opens the rounds of `line`; a version on its way to devices holds them up."""
    rollouts = RolloutStore(database)
    return RoundOpening(
        line.id,
        ledger=RoundLedger(database),
        registry=registry,
        settings=config.rounds,
        clock=clock,
        held=lambda: rollouts.why_held(
            line.id,
            registry.newest_version(line.id),
            now_unix_s=int(clock.now_s()),
            most_s=config.rollout.hold_rounds_s,
        ),
    )


def policy_of(pair: Pair, config: CloudConfig) -> SamplingPolicy:
    """The sampling policy of the line: images stay where the teacher reads the devices' tokens.

    Raises ConfigError for a token codec that the pair cannot be coded with.
    """
    check_codec(config.sampling.token_codec, pair.token_space)
    if config.sampling.images_may_leave and pair.spec.translator is None:
        _log.warning(
            "images.not_requested",
            pair=pair.name,
            fix="Teacher and student share a tower: set sampling.images_may_leave = false.",
        )
        return replace(config.sampling, images_may_leave=False)
    return config.sampling
