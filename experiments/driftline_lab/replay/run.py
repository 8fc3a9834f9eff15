"""One replay from a trace folder to a run folder."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from driftline_device.config import load_config as load_device_config
from driftline_lab.machine import versions
from driftline_lab.replay.clock import OnAdvance, VirtualClock
from driftline_lab.replay.cloud.local import LocalCloud
from driftline_lab.replay.cloud.makers import CloudPlan, Remembered
from driftline_lab.replay.cloud.process import ProcessCloud
from driftline_lab.replay.cloud.side import CloudSide
from driftline_lab.replay.device.device import Given
from driftline_lab.replay.device.makers import DeviceMaker
from driftline_lab.replay.engine import Replay
from driftline_lab.replay.metrics import Tally, metrics_of
from driftline_lab.replay.options import refuse_without_effect
from driftline_lab.replay.reading import answered_ids, first_moment, read_records
from driftline_lab.replay.records import Recorded
from driftline_lab.replay.rounds import RoundDriver
from driftline_lab.replay.settings import ReplayOptions
from driftline_lab.runs.folder import need_new_run_folder, write_run
from driftline_lab.runs.run import Metrics, RunInfo, Timings
from driftline_shared.callbacks import ignore
from driftline_shared.errors import ConfigError
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.trace.manifest import Manifest, as_json
from driftline_shared.trace.reader import Trace, open_trace

OnProgress = Callable[[int, int], None]
"""Called with the answers that were replayed, and the rows of the trace."""


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """What a replay gave. `hits`: of the cache, by name. `wall_s`: by this machine's clock."""

    metrics: Metrics
    hits: dict[str, int]
    wall_s: float

    @property
    def times_real(self) -> float:
        """Virtual seconds in a second of the wall clock."""
        return self.metrics.numbers["virtual_s"] / self.wall_s if self.wall_s > 0 else 0.0


def run_replay(
    trace_folder: Path,
    options: ReplayOptions,
    *,
    out: Path | None = None,
    on_progress: OnProgress = ignore,
) -> ReplayResult:
    """Replay the trace in `trace_folder`; a run folder `out` if one is named.

    Raises DataError for a trace that is broken or of another pair, ConfigError for settings that
    do not fit it or an `out` that cannot be written or holds anything.
    """
    refuse_without_effect(options)
    if out is not None:
        need_new_run_folder(out)
    started_unix_s, start_s = time.time(), time.perf_counter()
    trace, pair = open_trace(trace_folder), load_pair(options.pair)
    _check_pair(trace.manifest, pair)
    answered = answered_ids(partial(_rows, trace))
    start_unix_s = first_moment(trace.events(), answered)
    num_rows = trace.manifest.num_rows
    chosen_anew = options.policy is not None or options.answers == "recompute"
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="driftline-replay-")))
        clock = VirtualClock(start_unix_s, on_advance=_pace(options.speed))
        plan = _cloud_plan(options, state)
        cloud = stack.enter_context(closing(_open_cloud(plan, clock, options, start_unix_s, state)))
        tally = Tally(state / "timeline.jsonl")
        stack.callback(tally.close)
        records = read_records(
            trace.events(),
            pair.token_space,
            with_tokens=chosen_anew,
            answered=answered,
            on_repeated=tally.repeated,
        )
        rounds = RoundDriver(
            clock, cloud, plan.config(), options.times, num_answers=lambda: tally.num_answers
        )
        maker = DeviceMaker(
            options=options,
            config=load_device_config(
                None, {**options.device_settings, "pair": options.pair}, environment={}
            ),
            pair=pair,
            cloud=cloud,
            clock=clock,
            folder=state,
            on_stored=rounds.samples_came,
            num_answers=lambda: tally.num_answers,
            initial=Remembered(plan).initial,
        )

        def count(record: Recorded, given: Given) -> None:
            tally.answered(record, given)
            on_progress(tally.num_answers, num_rows)

        replay = Replay(records, clock, rounds, maker.make, on_answer=count)
        stack.callback(replay.close)
        settled = replay.run(settle_s=options.settle_s)
        summary = cloud.summary()
        metrics = metrics_of(
            tally,
            summary,
            replay.devices.values(),
            rounds.opened,
            virtual_s=clock.monotonic_s(),
            settled=settled,
        )
        tally.close()
        wall_s = time.perf_counter() - start_s
        if out is not None:
            info = _info(options, trace.manifest, pair)
            timings = Timings(started_unix_s=started_unix_s, seconds={"replay": wall_s})
            write_run(out, info, metrics, timings, tally.timeline())
    return ReplayResult(metrics=metrics, hits=summary.hits, wall_s=wall_s)


def _rows(trace: Trace, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of some columns, a batch of a part at a time."""
    for batch in trace.batches(columns):
        yield from batch.to_pylist()


def _check_pair(manifest: Manifest, pair: Pair) -> None:
    """A trace of another student or token space says nothing about this pair."""
    subject = manifest.subject
    for what, theirs, ours in (
        ("token space", subject.token_space, pair.token_space.digest),
        ("base model", subject.base_model, pair.base_model),
    ):
        if theirs != ours:
            raise ConfigError(
                f"the trace was recorded on pair {subject.pair} with {what} {theirs[:12]}, pair "
                f"{pair.name} has {ours[:12]}: name the recorded pair with --pair"
            )


def _cloud_plan(options: ReplayOptions, state: Path) -> CloudPlan:
    settings = dict(options.cloud_settings)
    if options.policy is not None:
        given = asdict(options.policy)
        settings |= {f"sampling.{key}": value for key, value in given.items() if key != "revision"}
    settings.setdefault("rounds.seed", options.seed)
    settings |= {"state": state / "cloud", "pair": options.pair}
    return CloudPlan(settings=settings, cache=options.cache, cache_bytes=options.cache_bytes)


def _open_cloud(
    plan: CloudPlan,
    clock: VirtualClock,
    options: ReplayOptions,
    start_unix_s: float,
    state: Path,
) -> CloudSide:
    if options.processes:
        folder = state / "process"
        return ProcessCloud(plan, clock, start_unix_s=start_unix_s, folder=folder)
    return LocalCloud(plan, clock)


def _pace(speed: float) -> OnAdvance:
    """What holds the virtual clock back to `speed` times the wall clock; nothing for 0."""
    if speed <= 0:
        return ignore
    start_s = time.monotonic()

    def hold_back(passed_s: float) -> None:
        ahead_s = passed_s / speed - (time.monotonic() - start_s)
        if ahead_s > 0:
            time.sleep(ahead_s)

    return hold_back


def _info(options: ReplayOptions, manifest: Manifest, pair: Pair) -> RunInfo:
    subject = manifest.subject
    digest = hashlib.sha256(repr(sorted(as_json(manifest).items())).encode()).hexdigest()
    return RunInfo(
        kind="replay",
        pair=pair.name,
        seed=options.seed,
        base_model=subject.base_model,
        token_space=subject.token_space,
        trace=digest,
        link=options.link.name,
        settings={
            "cloud": {key: str(value) for key, value in options.cloud_settings.items()},
            "device": {key: str(value) for key, value in options.device_settings.items()},
            "times": options.times.model_dump(),
            "answers": options.answers,
            "processes": options.processes,
        },
        policy={} if options.policy is None else asdict(options.policy),
        versions=versions(),
    )
