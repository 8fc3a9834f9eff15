"""Run a demo: measure before, let device and cloud work on loopback, measure after."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from driftline_lab.data.openmoji.captions import check_scorers
from driftline_lab.demo.device import DemoDevice, assigned, prepare_device
from driftline_lab.demo.evaluate import (
    Answers,
    TestSet,
    accuracy,
    caption_scores,
    device_answers,
    teacher_answers,
)
from driftline_lab.demo.options import DemoData, DemoOptions, prepare_data
from driftline_lab.demo.processes import Program, program, wait_for_file
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
from driftline_lab.demo.screen import line, render
from driftline_lab.demo.settings import write_cloud_config
from driftline_shared.errors import DriftlineError, LinkError
from driftline_shared.pair.pair import load_pair
from driftline_shared.rpc.status import fetch_status
from driftline_shared.status import CloudStatus

READY_S = 120.0
LOOP_S = 1800.0
"""A loop that takes longer than this is stuck: the demo says so and ends."""
REFRESH_S = 0.5
LINE_EVERY_S = 10.0


def run_demo(options: DemoOptions, console: Console | None = None) -> DemoReport:
    """The whole demo; prints what happens and the closing table, returns the numbers.

    Raises DriftlineError when one of the two programs fails, with the end of its log.
    """
    console = console or Console()
    options.state.mkdir(parents=True, exist_ok=True)
    pair = load_pair(options.pair)
    has_captions = options.world.has_captions
    if has_captions:
        check_scorers()
    device = prepare_device(options, pair, report=lambda text: console.print(f"[dim]{text}[/]"))
    console.print("[dim]writing the stream …[/]")
    data = prepare_data(options)
    # The teacher first, since the device's runtime may leave this process with one thread.
    with _bar(console, "teacher", data.tests) as progress:
        teacher = teacher_answers(pair, data.tests, progress)
    with _bar(console, "before", data.tests) as progress:
        before = device_answers(device.runtime(None), data.tests, progress)
    start = time.monotonic()
    status, cloud = _loop(options, device, data, console)
    seconds = time.monotonic() - start
    version = device.version_in_force()
    with _bar(console, "after", data.tests) as progress:
        after = device_answers(device.runtime(version), data.tests, progress)
    report = DemoReport(
        pair=pair.name,
        device=device.described,
        seed=options.seed,
        seconds=seconds,
        rounds=sum(each.num_rounds for each in cloud.lines),
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
        uplink=uplink_of(status, pair, data),
        downlink=downlink_of(status, pair, version.adapter if version else None),
    )
    console.print(table(report))
    if report.captions:
        console.print(caption_table(report))
    for sentence in sentences(report):
        console.print(sentence, highlight=False)
    if options.out is not None:
        write_demo_run(options.out, options, device.config, pair, data, report)
        console.print(f"run:  {options.out}; its page: driftline lab report {options.out}")
    return report


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
    options: DemoOptions, device: DemoDevice, data: DemoData, console: Console
) -> tuple[dict[str, Any], CloudStatus]:
    """Cloud and device as two processes, until the stream is over and nothing is under way."""
    state = options.state
    cloud_config = write_cloud_config(options)
    paced = [f"{key}={value}" for key, value in options.pace.cloud.items()]
    serve = ["cloud", "serve", "--config", str(cloud_config)]
    serve += assigned((*paced, *options.cloud_settings))
    with program("cloud", serve, state / "cloud.log") as cloud:
        port = wait_for_file(state / "cloud" / "port", cloud, READY_S)
        address = f"127.0.0.1:{port}"
        run = ["device", "run", *device.arguments, "--cloud", address]
        run += ["--source", str(data.stream)]
        with program("device", run, state / "device.log") as running:
            _watch(device.config.state, data, console, cloud, running, address)
        found = fetch_status(address, timeout_s=10.0)
    return read_status(device.config.state), found


def _watch(
    device_state: Path,
    data: DemoData,
    console: Console,
    cloud: Program,
    device: Program,
    address: str,
) -> None:
    """Show both sides until the device has ended by itself."""
    deadline = time.monotonic() + LOOP_S
    printed = 0.0
    curve: list[float] = []
    status: CloudStatus | None = None
    live = Live(console=console, refresh_per_second=4, transient=True)
    with live if console.is_terminal else nullcontext():
        while device.running():
            cloud.check()
            if time.monotonic() > deadline:
                raise DriftlineError(f"the loop did not end within {LOOP_S:.0f} s")
            status = _ask(address) or status
            view = view_of(read_status(device_state), status, data.num_rows, curve)
            if console.is_terminal:
                live.update(render(view))
            elif time.monotonic() - printed >= LINE_EVERY_S:
                printed = time.monotonic()
                console.print(line(view), highlight=False)
            time.sleep(REFRESH_S)
    device.check()


def _ask(address: str) -> CloudStatus | None:
    try:
        return fetch_status(address, timeout_s=2.0)
    except LinkError:
        # A busy cloud answers the next time; a dead one is noticed by its process.
        return None


@contextmanager
def _bar(console: Console, name: str, tests: list[TestSet]) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        total = sum(len(each.rows) for each in tests)
        task = bar.add_task(name, total=total)
        yield lambda share: bar.update(task, completed=round(share * total))
