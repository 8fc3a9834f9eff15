"""Run a demo: measure before, let device and cloud work on loopback, measure after."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from safetensors import safe_open

from driftline_cloud.service.client import fetch_status
from driftline_lab.demo.evaluate import (
    TestSet,
    device_accuracy,
    teacher_accuracy,
)
from driftline_lab.demo.options import DemoData, DemoOptions, prepare_data
from driftline_lab.demo.processes import Program, program, wait_for_file
from driftline_lab.demo.report import Accuracy, DemoReport, sentences, table
from driftline_lab.demo.screen import line, render
from driftline_shared.errors import DriftlineError, LinkError
from driftline_shared.models.pair import Pair, load_pair
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
    console.print("[dim]writing the stream …[/]")
    data = prepare_data(options)
    before, teacher = _measure_before(pair, data, console)
    start = time.monotonic()
    device, cloud = _loop(options, data, console)
    seconds = time.monotonic() - start
    adapter = _adapter_in_force(options.state / "device", pair)
    with _bar(console, "after", data.tests) as told:
        after = device_accuracy(pair, adapter, data.tests, told)
    report = DemoReport(
        pair=pair.name,
        seed=options.seed,
        seconds=seconds,
        rounds=sum(each.num_rounds for each in cloud.lines),
        accuracy={
            each.domain: Accuracy(
                before=before[each.domain],
                after=after[each.domain],
                teacher=teacher[each.domain],
            )
            for each in data.tests
        },
        uplink=_uplink(device, pair, data),
        downlink=_downlink(device, pair, adapter),
    )
    console.print(table(report))
    for sentence in sentences(report):
        console.print(sentence, highlight=False)
    return report


def _measure_before(
    pair: Pair, data: DemoData, console: Console
) -> tuple[dict[str, float], dict[str, float]]:
    with _bar(console, "before", data.tests) as told:
        before = device_accuracy(pair, None, data.tests, told)
    with _bar(console, "teacher", data.tests) as told:
        teacher = teacher_accuracy(pair, data.tests, told)
    return before, teacher


def _loop(
    options: DemoOptions, data: DemoData, console: Console
) -> tuple[dict[str, Any], CloudStatus]:
    """Cloud and device as two processes, until the stream is over and nothing is under way."""
    state = options.state
    cloud_config = write_cloud_config(options)
    serve = ["cloud", "serve", "--config", str(cloud_config)]
    with program("cloud", serve, state / "cloud.log") as cloud:
        port = wait_for_file(state / "cloud" / "port", cloud, READY_S)
        address = f"127.0.0.1:{port}"
        device_config = write_device_config(options, address)
        run = ["device", "run", "--config", str(device_config), "--source", str(data.stream)]
        with program("device", run, state / "device.log") as device:
            _watch(options, data, console, cloud, device, address)
        found = fetch_status(address, timeout_s=10.0)
    return _read_status(state / "device"), found


def _watch(
    options: DemoOptions,
    data: DemoData,
    console: Console,
    cloud: Program,
    device: Program,
    address: str,
) -> None:
    """Show both sides until the device has ended by itself."""
    deadline = time.monotonic() + LOOP_S
    told = 0.0
    curve: list[float] = []
    status: CloudStatus | None = None
    live = Live(console=console, refresh_per_second=4, transient=True)
    with live if console.is_terminal else _nothing():
        while device.running():
            cloud.check()
            if time.monotonic() > deadline:
                raise DriftlineError(f"the loop did not end within {LOOP_S:.0f} s")
            status = _ask(address) or status
            view = _view(_read_status(options.state / "device"), status, data.num_rows, curve)
            if console.is_terminal:
                live.update(render(view))
            elif time.monotonic() - told >= LINE_EVERY_S:
                told = time.monotonic()
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
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _bar(console: Console, name: str, tests: list[TestSet]) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(name, total=sum(len(each.rows) for each in tests))
        yield lambda done: bar.advance(task, done)


def _view(
    device: dict[str, Any], cloud: CloudStatus | None, num_rows: int, curve: list[float]
) -> View:
    """One refresh; appends to `curve` when there are new answers."""
    accuracy = device.get("accuracy")
    if isinstance(accuracy, float):
        curve.append(accuracy)
    lines = cloud.lines if cloud is not None else ()
    newest = next((each.round for each in lines if each.round is not None), None)
    update = device.get("update") or {}
    return View(
        segment=str(device.get("domain") or device.get("segment") or device.get("activity", "-")),
        answered=int(device.get("num_answered", 0)),
        total=num_rows,
        accuracy=accuracy,
        uncertainty=device.get("uncertainty"),
        seen=int(device.get("num_seen", 0)),
        sent=int(device.get("num_sent", 0)),
        bytes_up=int(device.get("bytes_up", 0)),
        bytes_down=int(device.get("bytes_down", 0)),
        spooled=int((device.get("spool") or {}).get("num_samples", 0)),
        version=int(device.get("version", 0)),
        last_update=str(update.get("outcome", "-")),
        round_state=newest.state if newest is not None else "-",
        round_progress=newest.progress if newest is not None else 0.0,
        num_rounds=sum(each.num_rounds for each in lines),
        curve=tuple(curve),
    )


def _uplink(device: dict[str, Any], pair: Pair, data: DemoData) -> Uplink:
    """What went up. fp16 tokens: all V tokens of an image, uncoded."""
    space = pair.token_space
    sent = int(device["num_sent"])
    return Uplink(
        seen=int(device["num_seen"]),
        sent=sent,
        bytes_per_sample=int(device["bytes_up"]) / max(1, sent),
        jpeg90_bytes_per_sample=jpeg90_bytes(data.tests[-1].rows),
        fp16_tokens_bytes_per_sample=2.0 * space.grid.num_tokens * space.width,
    )


def _downlink(device: dict[str, Any], pair: Pair, adapter: Adapter | None) -> Downlink:
    """What came down; the pause is the median over updates."""
    pauses = [float(pause) for pause in device.get("apply_pause_ms", [])]
    updates = int(device.get("num_updates", 0))
    return Downlink(
        updates=updates,
        bytes_per_update=int(device["bytes_down"]) / max(1, updates),
        fp16_adapter_bytes=adapter_fp16_bytes(adapter) if adapter is not None else 0,
        fp16_model_bytes=_model_bytes(pair),
        apply_pause_ms=statistics.median(pauses) if pauses else 0.0,
    )


def _model_bytes(pair: Pair) -> int:
    """Bytes of the student in fp16, tower included: what shipping a new model would cost."""
    count = 0
    for path in pair.student_dir.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            count += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    return 2 * count


def _adapter_in_force(state: Path, pair: Pair) -> Adapter | None:
    """What the device ended with, read from its slots; None if it is still the base."""
    slots = Slots(state / "slots")
    found = slots.pointer()
    if found.slot is None:
        return None
    return slots.load(found.slot, found.version, base_model=pair.base_model).adapter


def _read_status(folder: Path) -> dict[str, Any]:
    path = folder / "status.json"
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text())
    return found
