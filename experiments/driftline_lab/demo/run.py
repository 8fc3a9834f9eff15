"""Run a demo: measure before, let device and cloud work on loopback, measure after."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from driftline_device.show.past import describe_card
from driftline_lab.data.openmoji.captions import check_scorers
from driftline_lab.demo.cloud import DemoCloud, prepare_cloud
from driftline_lab.demo.committed import beside_committed
from driftline_lab.demo.device import DemoDevice, prepare_device
from driftline_lab.demo.evaluate import (
    Answers,
    TestSet,
    accuracy,
    caption_scores,
    device_answers,
    teacher_answers,
)
from driftline_lab.demo.history import history_of
from driftline_lab.demo.lockstep import Lockstep, Show
from driftline_lab.demo.options import DemoData, DemoOptions, prepare_data
from driftline_lab.demo.owner import ScriptedOwner, cards_of
from driftline_lab.demo.processes import program, wait_for_file
from driftline_lab.demo.readings import (
    downlink_of,
    read_status,
    uplink_of,
    view_of,
)
from driftline_lab.demo.report import (
    Accuracy,
    Captions,
    DemoReport,
    caption_table,
    sentences,
    table,
)
from driftline_lab.demo.run_folder import write_demo_run
from driftline_lab.demo.screen import Lines, render
from driftline_lab.demo.settings import EVENTS
from driftline_lab.demo.trust import enrol_device, init_cloud
from driftline_lab.report.numbers import count
from driftline_lab.runs.folder import need_new_run_folder
from driftline_shared.errors import ConfigError
from driftline_shared.ids import line_id
from driftline_shared.pair.pair import load_pair
from driftline_shared.status import CloudStatus

READY_S = 120.0
REFRESH_S = 0.5
LINE_EVERY_S = 10.0

_ASKED = {
    "teacher": "asking the teacher",
    "before": "asking the device, before the stream,",
    "after": "asking the device, behind the stream,",
}


def run_demo(options: DemoOptions, console: Console | None = None) -> DemoReport:
    """The whole demo; prints what happens and the closing table, returns the numbers.

    Raises DriftlineError when one of the two programs fails, with the end of its log.
    """
    console = console or Console()
    _check_state(options.state)
    if options.out is not None:
        need_new_run_folder(options.out)
    pair = load_pair(options.pair)
    has_captions = options.world.has_captions
    if has_captions:
        check_scorers()
    device = prepare_device(options, pair, report=lambda text: console.print(f"[dim]{text}[/]"))
    cloud = prepare_cloud(options)
    console.print("[dim]writing the stream …[/]")
    data = prepare_data(options)
    # The teacher first, since the device's runtime may leave this process with one thread.
    with _bar(console, "teacher", data.tests) as progress:
        teacher = teacher_answers(pair, data.tests, progress)
    with _bar(console, "before", data.tests) as progress:
        before = device_answers(device.runtime(None), data.tests, progress)
    start = time.monotonic()
    status = _loop(options, cloud, device, data, console)
    seconds = time.monotonic() - start
    version = device.version_in_force()
    line_of_pair = line_id(pair.name, pair.base_model)
    history = history_of(cloud.config, line_of_pair, device.config.events)
    with _bar(console, "after", data.tests) as progress:
        after = device_answers(device.runtime(version), data.tests, progress)
    cards = cards_of(device.config.state) if options.owner_marks else []
    report = DemoReport(
        pair=pair.name,
        device=device.described,
        seed=options.seed,
        seconds=seconds,
        rounds=len(history.rounds),
        world=options.world.name if options.data is None else options.data.resolve().name,
        accuracy={
            each.domain: Accuracy(
                before=accuracy(each, before[each.domain]),
                after=accuracy(each, after[each.domain]),
                teacher=accuracy(each, teacher[each.domain]),
            )
            for each in data.tests
        },
        captions=_captions(data.tests, before, after, teacher) if has_captions else {},
        uplink=uplink_of(status, pair, data, history.sample_bytes),
        downlink=downlink_of(status, pair, version.adapter if version else None, history.updates),
        rounds_made=history.rounds,
        updates_made=history.updates,
        owner=[asdict(card) for card in cards],
    )
    console.print(table(report))
    if report.captions:
        console.print(caption_table(report))
    for sentence in (*sentences(report), *beside_committed(report, options)):
        console.print(sentence, highlight=False)
    for line in (line for card in cards for line in describe_card(card)):
        console.print(line, highlight=False, markup=False)
    if not history.rounds:
        needed = cloud.config.rounds.trigger.round_samples
        came = count(report.uplink.sent, "sample")
        console.print(f"no round: {came} came, {needed} have to wait for one")
    if options.out is not None:
        write_demo_run(options.out, options, device.config, pair, data, report)
        console.print(f"run:  {options.out}; its page: driftline lab report {options.out}")
    return report


def _check_state(state: Path) -> None:
    """A demo starts from nothing: what another one has left would be gone on with."""
    if (state / "device").exists() or (state / "cloud").exists():
        raise ConfigError(
            f"{state} holds the state of another demo",
            fix="Name a new folder with --keep-state, or remove this one.",
        )
    state.mkdir(parents=True, exist_ok=True)


def _captions(
    tests: list[TestSet], before: Answers, after: Answers, teacher: Answers
) -> dict[str, Captions]:
    found = {}
    for each in tests:
        scores = [caption_scores(each, by[each.domain]) for by in (before, after, teacher)]
        if (first := scores[0]) and (second := scores[1]) and (third := scores[2]):
            found[each.domain] = Captions(before=first, after=second, teacher=third)
    return found


def _loop(
    options: DemoOptions, cloud: DemoCloud, device: DemoDevice, data: DemoData, console: Console
) -> dict[str, Any]:
    """Cloud and device as two processes in lockstep, until the stream is over; the device's last
    status.
    """
    state = options.state
    init_cloud(cloud.config)
    with program("cloud", cloud.arguments, state / "cloud.log") as serving:
        port = wait_for_file(cloud.config.state / "port", serving, READY_S)
        address = f"127.0.0.1:{port}"
        operator = enrol_device(cloud.config, device.config.state)
        run = ["device", "run", *device.arguments, "--cloud", address]
        run += ["--source", str(data.stream)]
        with (
            program("device", run, state / "device.log") as running,
            _screen(console, device.config.state, data) as show,
        ):
            owner = ScriptedOwner(
                device.config.state,
                num=options.owner_marks,
                events=device.config.events or state / EVENTS,
                stream=data.stream,
            )
            Lockstep(
                cloud=serving,
                device=running,
                address=address,
                operator=operator,
                device_state=device.config.state,
                round_samples=cloud.config.rounds.trigger.round_samples,
                show=show,
                at_step=owner.look,
            ).run()
    return read_status(device.config.state)


@contextmanager
def _screen(console: Console, device_state: Path, data: DemoData) -> Iterator[Show]:
    """Shows both sides: a screen that is redrawn, or lines of what is new where there is none."""
    curve: list[float] = []
    shown = 0.0
    lines = Lines(partial(console.print, highlight=False, soft_wrap=True), LINE_EVERY_S)
    live = Live(console=console, refresh_per_second=4, transient=True)

    def show(cloud: CloudStatus | None) -> None:
        nonlocal shown
        if time.monotonic() - shown < REFRESH_S:
            return
        shown = time.monotonic()
        view = view_of(read_status(device_state), cloud, data.num_rows, curve)
        if console.is_terminal:
            live.update(render(view))
        else:
            lines.show(view)

    with live if console.is_terminal else nullcontext():
        yield show


@contextmanager
def _bar(console: Console, name: str, tests: list[TestSet]) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    total = sum(len(each.rows) for each in tests)
    if not console.is_terminal:  # a bar is drawn there only once it is full
        console.print(f"[dim]{_ASKED[name]} {total} test questions …[/]")
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(name, total=total)
        yield lambda share: bar.update(task, completed=round(share * total))
