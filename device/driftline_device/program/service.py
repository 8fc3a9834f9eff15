"""What the commands do: run a device over its sources, ask it once, say how it is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from driftline_device.api.key import Key
from driftline_device.config import DeviceConfig
from driftline_device.daemon.daemon import ASKS_END_S, Daemon
from driftline_device.daemon.supervision import ServiceSupervisor
from driftline_device.daemon.systemd import Notifier
from driftline_device.feeds.table import standing
from driftline_device.program.assembly import open_daemon, runtime_for
from driftline_device.program.reload import Reloader
from driftline_device.program.sources import open_sources, reads_clips
from driftline_device.runtime.onnx.anew import PreparingAnew
from driftline_device.runtime.onnx.prepared import is_outdated
from driftline_device.runtime.runtime import Answer, ChecksQuestions, Question, Runtime
from driftline_device.sampling.calibration import Calibrated, TokenRuntime, calibrate
from driftline_device.sinks.sink import Sink
from driftline_device.sources.source import Source, read_image
from driftline_device.updates.slots import look
from driftline_shared.bounds import check_question
from driftline_shared.callbacks import Progress, ignore
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.host.clock import SystemClock
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.pair.signed import load_trusted
from driftline_shared.pictures import shown

STOP_MARGIN_S = ASKS_END_S + 30.0
"""What ending takes beyond draining: questions under way, the link, the threads."""

_log = structlog.get_logger(__name__)


def run_device(
    config: DeviceConfig,
    texts: Sequence[str],
    *,
    hold: bool,
    reread: Callable[[], DeviceConfig] | None = None,
    notifier: Notifier | None = None,
    console: Sink | None = None,
    on_ready: Callable[[], None] = ignore,
) -> dict[str, Any]:
    """Answer all sources that `texts` name, in order, then hold if wanted; the last snapshot.

    SIGHUP takes up what `reread` gives; `notifier` tells the service manager how it goes;
    `console` gets every answer; `on_ready` is called once questions are taken.
    """
    pair = load_trusted(config.pair, config.pair_key)
    sources = open_sources(texts, config, pair.canvas)
    runtime = runtime_for(config, pair)
    standing = standing_questions(texts, sources, config)
    check_standing(runtime, standing)
    supervisor, key = ServiceSupervisor(notifier or Notifier()), Key(config.api)
    with (
        open_daemon(
            config,
            pair,
            runtime,
            supervisor=supervisor,
            key=key,
            source=", ".join(source.name for source in sources) or "api",
            console=console,
            standing=standing,
        ) as daemon,
        stops_on_signals(daemon),
        reloads_on_hangup(supervisor),
        prepares_anew(config, pair, runtime),
    ):
        snapshot = daemon.snapshot()
        _log.info(
            "device.started",
            driftline=metadata.version("driftline"),
            pair=pair.name,
            folder=str(pair.dir),
            base_model=pair.base_model[:16],
            version=snapshot.version,
            state=str(config.state.resolve()),
            cloud=config.cloud or "none",
        )
        supervisor.reload = Reloader(daemon, config, reread or (lambda: config), key).reload
        stream(
            daemon,
            sources,
            settle_s=config.settle_s,
            drain_s=config.drain_s,
            hold=hold,
            notifier=supervisor.notifier,
            on_ready=on_ready,
        )
        return asdict(daemon.snapshot())


def standing_questions(
    texts: Sequence[str], sources: Sequence[Source], config: DeviceConfig
) -> list[tuple[str, str]]:
    """(feed, question) of what the configuration asks again and again."""
    if not texts and config.feeds:
        return standing(config.feeds, config.question)
    return [(source.name, config.question) for source in sources if config.question]


def check_standing(runtime: Runtime, standing: Sequence[tuple[str, str]]) -> None:
    """ConfigError for a question that is asked again and again and can never be answered."""
    if not isinstance(runtime, ChecksQuestions):
        return
    for feed, question in standing:
        try:
            runtime.check_question(question)
        except DataError as error:
            raise ConfigError(f"the question of {feed}: {error}", fix=error.fix) from error


def stream(
    daemon: Daemon,
    sources: Sequence[Source],
    *,
    settle_s: float,
    drain_s: float,
    hold: bool,
    notifier: Notifier | None = None,
    on_ready: Callable[[], None] = ignore,
) -> None:
    """The life of a daemon from start to stop, with a word to the service manager at both ends."""
    notifier = notifier or Notifier()
    daemon.start()
    notifier.ready()
    on_ready()
    try:
        for source in sources:
            if daemon.stopping:
                break
            num_answered = daemon.run(source)
            _log.info("source.ended", source=source.name, num_answered=num_answered)
            if settle_s and not daemon.stopping:
                settled = daemon.settle(settle_s)
                _log.info("source.settled", source=source.name, settled=settled)
        daemon.end_steps()
        if hold and not daemon.stopping:
            daemon.hold()
    finally:
        notifier.stopping(drain_s + STOP_MARGIN_S)
        if not daemon.stop(drain_s):
            _log.warning("daemon.samples_wait", fix="They leave at the next start.")


@contextmanager
def prepares_anew(config: DeviceConfig, pair: Pair, runtime: Runtime) -> Iterator[None]:
    """An export's prepared choice that does not count here any more is made anew, beside."""
    chosen = not config.precision or config.threads is None
    if not config.prepare_anew or not chosen or pair.exported is None or not is_outdated(pair.dir):
        yield
        return
    ending = threading.Event()
    anew = PreparingAnew(pair.dir, runtime.turns, SystemClock())
    thread = threading.Thread(target=anew.run, args=[ending], name="driftline-prepare", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(10.0)


@contextmanager
def reloads_on_hangup(supervisor: ServiceSupervisor) -> Iterator[None]:
    """SIGHUP asks for new settings instead of ending the process."""
    with _handled(lambda *_: supervisor.request_reload(), signal.SIGHUP):
        yield


@contextmanager
def stops_on_signals(daemon: Daemon) -> Iterator[None]:
    """SIGTERM and Ctrl-C ask the daemon to stop; a second one ends the process at once."""

    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        daemon.request_stop()
        signal.signal(number, signal.SIG_DFL)

    with _handled(ask_to_stop, signal.SIGTERM, signal.SIGINT):
        yield


@contextmanager
def _handled(
    handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals
) -> Iterator[None]:
    """The signals go to `handler`; in another thread than the main one they are left alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def ask_once(config: DeviceConfig, image: Path, question: str) -> Answer:
    """One answer under the version in force; the state is read, never changed. `image`: a picture;
    for a pair of clips a video or a folder, whose first clip is asked about. Raises DataError for
    a picture or a question that cannot be asked about.
    """
    check_question(question)
    pair = load_trusted(config.pair, config.pair_key)
    pixels = _shown_to(pair, config, image, question)
    runtime = runtime_for(config, pair)
    loaded = look(config.state / "slots", base_model=runtime.base_model)
    if loaded is not None:
        runtime.swap(loaded.adapter, loaded.version, loaded.ik_head)
    return runtime.answer([Question(image=pixels, text=question)])[0]


def _shown_to(pair: Pair, config: DeviceConfig, image: Path, question: str) -> NDArray[np.uint8]:
    if not reads_clips(pair.canvas):
        return read_image(image, place=str(image), max_pixels=config.max_pixels)
    asked = config.model_copy(update={"question": question, "feeds": ()})
    (source,) = open_sources([str(image)], asked, pair.canvas)
    with closing(iter(source)) as clips:
        clip = next((each for each in clips if each is not None), None)
    if clip is None:
        raise DataError(
            f"{shown(image)} is too short for a clip of this pair",
            fix="Take more frames of a video by a smaller `--set frames.every_s=SECONDS`, or a "
            "longer one.",
        )
    return clip.image


def calibrate_pair(config: DeviceConfig, progress: Progress) -> Calibrated:
    """Write the pair's gate.safetensors from its source calibration set."""
    pair = load_pair(config.pair)
    runtime = runtime_for(config, pair)
    if not isinstance(runtime, TokenRuntime):
        raise ConfigError(f"runtime {config.runtime!r} cannot answer from stored tokens; use torch")
    return calibrate(pair, runtime, progress)
