"""From a configuration to a daemon: the one place where the parts are chosen and put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import structlog

from driftline_device.api.key import Key
from driftline_device.api.server import serve_api
from driftline_device.config import DeviceConfig
from driftline_device.daemon.daemon import Daemon
from driftline_device.daemon.dial import Dial
from driftline_device.daemon.meter import Meter
from driftline_device.daemon.parts import DeviceLink, Parts
from driftline_device.daemon.state_files import StateFiles
from driftline_device.daemon.supervision import Supervisor
from driftline_device.escalation.book import Book
from driftline_device.escalation.desk import EscalationDesk
from driftline_device.escalation.telling import tell
from driftline_device.history.feedback import taker
from driftline_device.history.history import History
from driftline_device.link.identity import identity_in
from driftline_device.link.link import Link
from driftline_device.link.settings import LinkSettings
from driftline_device.recording.events import DeviceTrace
from driftline_device.recording.spans import DeviceSpans
from driftline_device.runtime.factory import make_runtime
from driftline_device.runtime.runtime import Runtime
from driftline_device.sampling.budget_facts import pair_facts
from driftline_device.sampling.budget_ledger import Ledger
from driftline_device.sampling.escalation import EscalationGate
from driftline_device.sampling.sampler import ImagePermission, Sampler
from driftline_device.show.metrics import serve_metrics
from driftline_device.signatures.opened import open_signatures
from driftline_device.sinks.commands import Take
from driftline_device.sinks.home_assistant import About
from driftline_device.sinks.publisher import EventsFile, Publisher
from driftline_device.sinks.settings import name_of
from driftline_device.sinks.sink import Sink
from driftline_device.sinks.table import open_sinks
from driftline_device.spool.sqlite import SqliteSpool
from driftline_device.updates.applier import Applier
from driftline_device.watches.watching import Watching
from driftline_shared.callbacks import ignore
from driftline_shared.errors import DriftlineError
from driftline_shared.host.clock import Clock, SystemClock
from driftline_shared.host.durable import clear_way
from driftline_shared.host.lock import state_lock
from driftline_shared.ids import line_id, new_sample_id
from driftline_shared.pair.pair import Pair
from driftline_shared.spans.spans import open_spans
from driftline_shared.status import Enrolment
from driftline_shared.tokens import SamplingPolicy
from driftline_shared.trace.manifest import Subject
from driftline_shared.trace.recorder import open_recorder

_log = structlog.get_logger(__name__)


def runtime_for(config: DeviceConfig, pair: Pair) -> Runtime:
    """The runtime that `config` names, with version 0 of `pair`."""
    if config.compressor_options and not config.compressor:
        _log.warning(
            "compressor.options_without_one",
            options=sorted(config.compressor_options),
            fix="Name the method as `compressor`, or remove `compressor_options`.",
        )
    return make_runtime(
        pair,
        name=config.runtime,
        device=config.compute,
        threads=config.threads,
        precision=config.precision,
        providers=config.providers,
        compressor=config.compressor_choice,
        upload_from=config.upload_from,
    )


@contextmanager
def open_daemon(
    config: DeviceConfig,
    pair: Pair,
    runtime: Runtime,
    *,
    supervisor: Supervisor | None = None,
    key: Key | None = None,
    clock: Clock | None = None,
    source: str = "",
    console: Sink | None = None,
    standing: Sequence[tuple[str, str]] = (),
) -> Iterator[Daemon]:
    """A daemon that holds the lock of its state folder; closed on leaving, after `Daemon.stop`.

    `source`: what it reads, for its trace. `console`: gets every answer, too.
    `standing`: (feed, question) that are asked again and again.
    """
    clock = clock or SystemClock()
    with ExitStack() as stack:
        stack.enter_context(state_lock(config.state, must_write=False))
        state_files = StateFiles(config.state)
        identity = identity_in(config.state, config.cloud) if config.cloud else None
        device_id = state_files.device_id if identity is None else identity.device_id
        signatures = open_signatures(
            config.state, pair, base_model=runtime.base_model, now_s=clock.now_s
        )
        about = About(
            device_id=device_id,
            pair=pair.name,
            standing=tuple(standing),
            watches=tuple(watch.name for watch in config.watches),
        )
        history = History(config.state, config.history, canvas=_canvas(pair))
        stack.callback(history.close)
        publisher = open_publisher(
            config, about, console, clock=clock, feedback=taker(history, clock)
        )
        stack.callback(publisher.close)
        spool = SqliteSpool(
            config.state / "spool.sqlite",
            max_bytes=config.spool.max_bytes,
            max_samples=config.spool.max_samples,
        )
        stack.callback(spool.close)
        daemon: Daemon | None = None

        def adopt(policy: SamplingPolicy) -> None:
            if daemon is not None:
                daemon.adopt_policy(policy)

        dial = make_dial(config, pair, clock=clock)
        link: DeviceLink | None = None
        spans = stack.enter_context(
            device_spans(config, pair, runtime, device_id=device_id, clock=clock)
        )
        escalation: EscalationDesk | None = None
        if config.cloud and config.escalate != "never":
            escalation = EscalationDesk(Book(config.state), clock)
            stack.callback(escalation.close)
        if config.cloud:
            folder = config.state / "link"
            clear_way(folder, folder=True)
            link = Link(
                link_settings(config, dial),
                lambda: Enrolment(
                    device_id=device_id,
                    pair=pair.name,
                    token_space=pair.token_space.digest,
                    base_model=runtime.base_model,
                    adapter_version=max(0, runtime.version),
                ),
                spool,
                folder=folder,
                on_policy=adopt,
                answers=escalation,
                watch_acks=ignore if spans is None else spans.acked,
                clock=clock,
                ledger=None if dial is None else dial.ledger,
                identity=identity,
                signatures=signatures,
            )
        trace = stack.enter_context(
            open_trace(config, pair, runtime, device_id=device_id, source=source, clock=clock)
        )
        if escalation is not None and link is not None:
            escalation.on_correction = tell(publisher, history, clock)
            escalation.reachable = partial(_is_connected, link)
        parts = Parts(
            state=config.state,
            device_id=device_id,
            pair_name=pair.name,
            runtime=runtime,
            sampler=make_sampler(config, pair, state_files, clock=clock, dial=dial),
            spool=spool,
            applier=Applier(
                state_dir=config.state,
                runtime=runtime,
                pair_name=pair.name,
                token_space=pair.token_space.digest,
                probe_set=pair.probe_set(),
                clock=clock,
                settings=config,
                marks=history,
                signatures=signatures,
            ),
            state_files=state_files,
            meter=Meter(config.window),
            publisher=publisher,
            clock=clock,
            link=link,
            trace=trace,
            spans=spans,
            history=history,
            dial=dial,
            signatures=signatures,
            escalation=escalation,
        )
        daemon = Daemon(parts, config, supervisor=supervisor)
        publisher.start()
        stack.enter_context(
            serve_metrics(daemon.snapshot, host=config.metrics.host, port=config.metrics.port)
        )
        stack.enter_context(
            serve_api(daemon, config.api, max_pixels=config.max_pixels, key=key, history=history)
        )
        yield daemon


def open_publisher(
    config: DeviceConfig,
    about: About,
    console: Sink | None,
    *,
    clock: Clock,
    feedback: Take | None = None,
) -> Publisher:
    """Where answers go; `feedback`: takes what the owner says over a sink that hears."""
    events = None
    if config.events is not None:
        events = EventsFile(
            config.events, max_bytes=config.events_max_bytes, keep=config.events_keep, clock=clock
        )
    sinks = open_sinks(config.sinks, about, state=config.state, clock=clock, feedback=feedback)
    subscribed = [sinks[name_of(each)] for each in config.sinks if each.answers]
    return Publisher(
        events,
        console=console,
        sinks=list(sinks.values()),
        subscribed=subscribed,
        routes={feed.name: feed.sinks for feed in config.feeds if feed.sinks is not None},
        watching=Watching(config.watches) if config.watches else None,
    )


@contextmanager
def open_trace(
    config: DeviceConfig,
    pair: Pair,
    runtime: Runtime,
    *,
    device_id: str,
    source: str,
    clock: Clock,
) -> Iterator[DeviceTrace | None]:
    """The trace that `config` asks for; None where it asks for none."""
    if config.trace.folder is None:
        yield None
        return
    subject = Subject(
        pair=pair.name,
        base_model=runtime.base_model,
        token_space=pair.token_space.digest,
        token_width=pair.token_space.width,
        recorder="device",
        source=source,
    )
    seed = config.seed if config.seed >= 0 else None
    with open_recorder(config.trace, subject, clock=clock, seed=seed) as sink:
        yield DeviceTrace(
            sink,
            device_id=device_id,
            space=pair.token_space,
            clock=clock,
            new_id=lambda: new_sample_id(clock),
            settings=config.trace,
        )


@contextmanager
def device_spans(
    config: DeviceConfig, pair: Pair, runtime: Runtime, *, device_id: str, clock: Clock
) -> Iterator[DeviceSpans | None]:
    """The spans that `config` asks for; None where it asks for none."""
    spans = open_spans(config.spans, "driftline-device")
    if spans is None:
        yield None
        return
    line = line_id(pair.name, runtime.base_model)
    try:
        yield DeviceSpans(spans, device_id=device_id, line=line, clock=clock)
    finally:
        spans.close()


def make_dial(config: DeviceConfig, pair: Pair, *, clock: Clock) -> Dial | None:
    """The owner's budget at work; None where nothing leaves, or without a limit."""
    budget = config.byte_budget
    if budget is None or not config.cloud:
        return None
    ledger = Ledger(budget, config.state, clock)
    dial = Dial(config.budget, pair_facts(pair), ledger, clock, config.sampling_by_hand)
    dial.narrowed(config.sampling)
    if not dial.plan.fits:
        _log.error(
            "budget.too_small",
            budget=config.budget,
            sample_bytes=round(dial.plan.sample_bytes),
            fix="Not a single sample of this pair fits: give more, or set cloud to nothing.",
        )
    return dial


def link_settings(config: DeviceConfig, dial: Dial | None) -> LinkSettings:
    """Of the link; under a budget policies are asked for as seldom as updates."""
    settings = LinkSettings(address=config.cloud, images_may_leave=config.images_may_leave)
    if dial is None:
        return settings
    return replace(settings, policy_s=max(settings.policy_s, dial.plan.poll_s))


def make_sampler(
    config: DeviceConfig,
    pair: Pair,
    state_files: StateFiles,
    *,
    clock: Clock,
    dial: Dial | None = None,
) -> Sampler:
    """A sampler with the policy of the last run (so an offline start obeys it), else the config's.

    What a restart remembers and cannot be used any more is logged and left out.
    """
    sampler = partial(
        Sampler,
        space=pair.token_space,
        calibration=pair.gate,
        rng=np.random.default_rng(config.seed if config.seed >= 0 else None),
        new_id=lambda: new_sample_id(clock),
        clock=clock,
        escalation=(
            EscalationGate(quantile=config.escalate_quantile, share=config.escalate_share)
            if config.cloud and config.escalate != "never"
            else None
        ),
        token_noise=config.token_noise,
        images=ImagePermission(
            may_leave=config.images_may_leave,
            regions=config.regions,
            canvas=_canvas(pair),
        ),
    )
    policy, state = state_files.policy() or config.sampling, state_files.sampling()
    for some_state in (state, None):
        try:
            narrowed = policy if dial is None else dial.narrowed(policy)
            return sampler(policy=narrowed, state=some_state)
        except DriftlineError as error:
            _log.error("sampler.memory_left_out", error=str(error), fix=error.fix)
    policy = config.sampling
    return sampler(policy=policy if dial is None else dial.narrowed(policy))


def _is_connected(link: DeviceLink) -> bool:
    return link.stats().connected


def _canvas(pair: Pair) -> tuple[int, int] | None:
    canvas = pair.canvas
    return None if canvas is None else (canvas.height, canvas.width)
