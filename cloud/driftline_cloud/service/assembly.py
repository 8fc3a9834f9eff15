"""Putting a cloud together from its configuration; the heavy parts are imported here, when used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from importlib import metadata

import numpy as np
import structlog

from driftline_cloud.blobs.opened import open_stores
from driftline_cloud.blobs.store import StoreAwayError
from driftline_cloud.config import CloudConfig
from driftline_cloud.corrections.answering import Answerer
from driftline_cloud.corrections.store import CorrectionStore
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.identity import bind
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.devices import DeviceRegister
from driftline_cloud.intake.intake import Intake
from driftline_cloud.intake.line import Line
from driftline_cloud.intake.quarantine import Quarantine
from driftline_cloud.intake.store import SampleStore
from driftline_cloud.lines.book import DROPPED, LineBook
from driftline_cloud.lines.pairs import line_of, named_pair
from driftline_cloud.lines.unknown import UnknownBases
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rollout.keeper import RolloutKeeper
from driftline_cloud.rollout.offers import Offers
from driftline_cloud.rollout.orders import RolloutOrders
from driftline_cloud.rollout.store import RolloutStore
from driftline_cloud.rounds.coordinator import Coordinator, Watch
from driftline_cloud.rounds.group_work import GroupWork
from driftline_cloud.rounds.leases import Lease
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.rounds.releases import Releases
from driftline_cloud.rounds.round import Round
from driftline_cloud.rounds.screen_work import ScreenWork
from driftline_cloud.rounds.sieve import Sieve
from driftline_cloud.rounds.work import RoundWork
from driftline_cloud.service.cloud import Cloud
from driftline_cloud.service.line_opener import LineOpener, opening_of
from driftline_cloud.service.lines import Lines, ServedLine
from driftline_cloud.service.metrics import CloudMetrics
from driftline_cloud.service.recording import CloudTrace
from driftline_cloud.service.signatures import open_signing
from driftline_cloud.service.spans import RoundSpans
from driftline_cloud.state import StateFolder
from driftline_cloud.trust.authority import has_authority, root_is_here
from driftline_cloud.trust.trust import CloudTrust, open_trust
from driftline_cloud.workers.cluster.access import Access
from driftline_cloud.workers.cluster.secret import token_place
from driftline_cloud.workers.labelling import LocalLabelling
from driftline_cloud.workers.reach import why_away
from driftline_cloud.workers.table import make_workers
from driftline_cloud.workers.workers import Labelling, Workers
from driftline_shared.callbacks import ignore
from driftline_shared.errors import ConfigError
from driftline_shared.host.clock import Clock, SystemClock
from driftline_shared.host.loopback import is_loopback
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.pair.signed import check_signed
from driftline_shared.program.proxies import host_of
from driftline_shared.spans.spans import Spans, open_spans
from driftline_shared.update import Adapter

_log = structlog.get_logger(__name__)


def workers_of(config: CloudConfig) -> Workers:
    """The workers that the configuration names."""
    return make_workers(
        config.workers.kind,
        settings=config.distil,
        device=config.workers.device,
        ray_address=config.workers.ray_address or None,
        ray_access=Access(
            token=token_place(config.workers.ray_token_file), tls=config.workers.ray_tls
        ),
        num_labellers=config.workers.num_labellers,
        keep_warm_s=config.workers.keep_warm_s,
        autoscale_to=config.workers.autoscale_to,
        # A cluster has the cloud's state folder on every node; Ray started here needs none.
        ray_storage=config.state.resolve() / "ray" if config.workers.ray_address else None,
    )


def answering_teacher(config: CloudConfig) -> Labelling:
    """A teacher beside the workers' own, for what devices wait for."""
    return LocalLabelling(settings=config.distil, device=config.workers.device)


def initial_adapter(pair: Pair) -> Adapter:
    """Version 0: what every device of the pair starts with."""
    from driftline_shared.models.adapters import slots
    from driftline_shared.models.loading import load_student

    student = load_student(pair, twin=True)
    return slots.initial(student.model, pair.adapter)


def digest_teacher(pair: Pair) -> str:
    """The key under which the teacher's labels are kept."""
    from driftline_cloud.distill.teacher import teacher_digest

    return teacher_digest(pair)


def spans_of(config: CloudConfig) -> Spans | None:
    """The spans that the configuration asks for."""
    return open_spans(config.spans, "driftline-cloud")


@dataclass(frozen=True, kw_only=True)
class Makers:
    """Where the heavy parts come from. `database`: from its URL. `watch` is called at every step of
    a round.
    """

    pair: Callable[[str], Pair] = load_pair
    workers: Callable[[CloudConfig], Workers] = workers_of
    initial: Callable[[Pair], Adapter] = initial_adapter
    answering: Callable[[CloudConfig], Labelling] = answering_teacher
    teacher: Callable[[Pair], str] = digest_teacher
    database: Callable[[str], Database] = Database
    watch: Watch = ignore
    spans: Callable[[CloudConfig], Spans | None] = spans_of
    clock: Clock = field(default_factory=SystemClock)

    def trusted_pair(self, config: CloudConfig, name: str) -> Pair:
        """The pair `name`, once it has the signature that `config` asks for. Raises PairError."""
        check_signed(name, config.pair_key)
        return self.pair(name)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What drives the rounds of a line, and answers devices beside them: two loops.

    `coordinator`, `answerer`: each has a `run` for a thread of its own.
    """

    coordinator: Coordinator
    answerer: Answerer
    close: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class WholeCloud(Cloud):
    """A cloud that serves and works in one process, on the one line of its configured pair: for the
    lab, and for tests.
    """

    work: Work

    @property
    def line(self) -> Line:
        """Its line."""
        return self.lines.of(self.first).line

    @property
    def intake(self) -> Intake:
        """What takes the line's batches."""
        return self.lines.of(self.first).intake

    @property
    def coordinator(self) -> Coordinator:
        """What drives its rounds."""
        return self.work.coordinator

    def progress(self, line: ServedLine) -> float:
        """See `Cloud.progress`."""
        return self.work.coordinator.progress

    def close(self) -> None:
        """Let workers, trace and database go."""
        self.work.close()
        super().close()


def assemble(config: CloudConfig, state: StateFolder, makers: Makers) -> WholeCloud:
    """Open the state and put all parts together; blocking. Raises DriftlineError kinds."""
    cloud = assemble_service(config, state, makers)
    try:
        lease = Lease(
            cloud.database,
            cloud.first,
            owner="here",
            clock=makers.clock,
            lease_s=config.work.lease_s,
        )
        work = assemble_work(
            config,
            state,
            makers,
            pair=makers.trusted_pair(config, config.pair),
            line=cloud.lines.of(cloud.first).line,
            database=cloud.database,
            lease=lease,
            registry=cloud.registry,
            watch=_counting(
                _recording(makers.watch, cloud.lines.of(cloud.first).trace), cloud.metrics
            ),
        )
    except BaseException:
        cloud.close()
        raise
    parts = {each.name: getattr(cloud, each.name) for each in fields(cloud)}
    return WholeCloud(**parts, work=work)


def assemble_service(config: CloudConfig, state: StateFolder, makers: Makers) -> Cloud:
    """What takes samples and serves updates: needs neither torch nor Ray. Blocking."""
    pair = makers.trusted_pair(config, config.pair)
    config.distil.of_pair(pair.spec.distillation.settings)  # what cannot be learnt with ends here
    database = makers.database(config.database)
    try:
        return _assemble_service(config, state, makers, line_of(pair), database)
    except BaseException:
        database.close()
        raise


def _assemble_service(
    config: CloudConfig, state: StateFolder, makers: Makers, line: Line, database: Database
) -> Cloud:
    bind(database, state)
    devices, store, ledger = DeviceRegister(database), SampleStore(database), RoundLedger(database)
    corrections = CorrectionStore(database, config.escalation)
    registry = open_registry(config, state, database)
    spans = makers.spans(config)
    book = LineBook(database)
    opener = LineOpener(
        config=config,
        pair=partial(makers.trusted_pair, config),
        clock=makers.clock,
        database=database,
        devices=devices,
        store=store,
        ledger=ledger,
        registry=registry,
        corrections=corrections,
        first=line.id,
        spans=spans,
    )
    rollouts = RolloutStore(database)
    offers = Offers(rollouts)
    lines = Lines(book, opener.open, clock=makers.clock, moved=devices.forget)
    now_s = int(makers.clock.now_s())
    first = book.ensure(named_pair(config.pair), line, now_unix_s=now_s)
    if first.state == DROPPED:
        _log.warning("line.stays_dropped", line=line.id, fix="`driftline cloud line add` it.")
    else:
        try:
            lines.open(first)  # what keeps the configured pair from being served ends the start
        except StoreAwayError as error:
            _log.warning("line.waits", line=line.id, cause=str(error))  # it is tried again
    lines.refresh()
    return Cloud(
        first=line.id,
        spans=spans,
        lines=lines,
        unknown=UnknownBases(database),
        database=database,
        devices=devices,
        store=store,
        quarantine=Quarantine(database),
        ledger=ledger,
        registry=registry,
        rollouts=rollouts,
        offers=offers,
        keeper=RolloutKeeper(rollouts, RolloutOrders(database, makers.clock), registry, offers),
        corrections=corrections,
        correction_poll_s=config.escalation.poll_s,
        metrics=CloudMetrics(),
        clock=makers.clock,
        version=metadata.version("driftline"),
        trust=_trust_of(config, database, makers.clock),
        signing=open_signing(config, registry, makers.clock),
    )


def check_reach(config: CloudConfig) -> None:
    """Raise ConfigError for a cloud that would let anybody of a network in."""
    if not has_authority(config.state) and not is_loopback(host_of(config.listen)):
        raise ConfigError(
            f"{config.listen} is reached from other machines, and this cloud has no authority: "
            "anybody might speak for any device",
            fix="`driftline cloud init` makes one (with the same --state or --config); or "
            "listen on 127.0.0.1.",
        )


def _trust_of(config: CloudConfig, database: Database, clock: Clock) -> CloudTrust | None:
    """Of the cloud's authority; None without one, or where the operator wants none used."""
    if config.trust.insecure or not has_authority(config.state):
        return None
    if root_is_here(config.state):
        _log.warning(
            "trust.root_key_is_here",
            path=str(config.state / "trust" / "root.key"),
            fix="Move it to a place that is offline: whoever has it can be this cloud.",
        )
    return open_trust(config.state, database, now_s=clock.now_s, days=config.trust.certificate_days)


def assemble_work(
    config: CloudConfig,
    state: StateFolder,
    makers: Makers,
    *,
    pair: Pair,
    line: Line,
    database: Database,
    lease: Lease,
    registry: ReleaseRegistry,
    watch: Watch,
) -> Work:
    """What drives rounds while `lease` is held; loads models, reaches for Ray. Blocking."""
    distil = _distil_of(pair, config)
    registry.catch_up()
    stores = open_stores(config.storage.artifacts, state.rounds, cloud_id=database.cloud_id)
    store = SampleStore(database)
    ledger, teacher = RoundLedger(database, fence=lease.check), makers.teacher(pair)
    quarantine = Quarantine(database)
    releases = Releases(
        registry,
        line,
        makers.initial(pair),
        settings=config.dwc,
        expires_after_s=config.update_expires_s,
    )
    workers = makers.workers(config)
    sieve = Sieve(quarantine=quarantine, pair_dir=pair.dir, clock=makers.clock)
    work = RoundWork(
        line=line,
        store=store,
        ledger=ledger,
        workers=workers,
        releases=releases,
        teacher=teacher,
        settings=config.rounds,
        distil=distil,
        limits=config.gate,
        kept=stores.rounds,
        clock=makers.clock,
        sieve=sieve,
        screening=ScreenWork(
            line=line,
            store=store,
            ledger=ledger,
            sieve=sieve,
            teacher=teacher,
            settings=config.screen,
        ),
        rollouts=RolloutOrders(database, makers.clock),
        rollout=config.rollout,
        groups=GroupWork(
            line=line,
            database=database,
            store=store,
            ledger=ledger,
            workers=workers,
            settings=config.grouping,
            rounds=config.rounds,
            limits=config.gate,
            score=config.sampling.gate_score,
            clock=makers.clock,
        ),
    )
    spans = makers.spans(config)
    if spans is not None:
        watch = _both(RoundSpans(spans, claimed=ledger.claimed, clock=makers.clock).step, watch)
    coordinator = Coordinator(
        work,
        opening=opening_of(config, database, registry, line, makers.clock),
        lease=lease,
        drift_threshold=drift_threshold(pair, config),
        watch=watch,
        away=partial(why_away, config.workers.ray_address),
    )
    answerer = Answerer(
        CorrectionStore(database, config.escalation),
        store,
        make_teacher=partial(makers.answering, config),
        line=line,
        teacher=teacher,
        settings=config.escalation,
        clock=makers.clock,
    )

    def close() -> None:
        workers.close()
        if spans is not None:
            spans.close()

    return Work(coordinator=coordinator, answerer=answerer, close=close)


def open_registry(config: CloudConfig, state: StateFolder, database: Database) -> ReleaseRegistry:
    """The versions of all lines; a store far away is not asked yet."""
    stores = open_stores(config.storage.artifacts, state.rounds, cloud_id=database.cloud_id)
    return ReleaseRegistry(state.releases, stores.far_releases)


def _distil_of(pair: Pair, config: CloudConfig) -> DistilSettings:
    """What rounds are distilled with. What none could be fails at the start, not in the first."""
    distil = config.distil.of_pair(pair.spec.distillation.settings)
    if distil.compressor:
        from driftline_cloud.distill.student import check_compression

        check_compression(pair, distil)
    return distil


def drift_threshold(pair: Pair, config: CloudConfig) -> float:
    """The gate score above which a sample counts as drifted; infinite if the pair knows no such."""
    scores = pair.gate.get(config.sampling.gate_score)
    if scores is None or len(scores) == 0:
        return float("inf")
    return float(np.quantile(scores, config.rounds.trigger.drift_quantile))


def _recording(watch: Watch, trace: CloudTrace | None) -> Watch:
    return watch if trace is None else _both(trace.round_step, watch)


def _both(first: Watch, second: Watch) -> Watch:
    def watch(event: str, round_: Round) -> None:
        first(event, round_)
        second(event, round_)

    return watch


def _counting(watch: Watch, metrics: CloudMetrics) -> Watch:
    def count_and_watch(event: str, round_: Round) -> None:
        if event == "changed" and not round_.is_open:
            metrics.count_round(round_.line, str(round_.state))
        watch(event, round_)

    return count_and_watch
