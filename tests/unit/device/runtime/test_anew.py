"""A prepared choice is made anew while nobody asks, never beside an answer."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from driftline_device.runtime.onnx.anew import IDLE_S, LIMIT_S, LONGEST_WAIT_S, PreparingAnew
from driftline_device.runtime.onnx.prepare import prepare
from driftline_device.runtime.onnx.prepared import PREPARED_FILE, is_outdated, read_prepared
from driftline_device.runtime.turns import Turns
from driftline_shared.callbacks import ignore
from driftline_shared.pair.export_file import EXPORT_FILE
from tests.fakes.clock import FakeClock
from tests.fakes.tiny_export import make_tiny_export


class Bench:
    """A device's turns, a clock that jumps, and processes that end as `script` says: its entries,
    one for each, are called at every look and give an exit code or None. One more ends the device.
    """

    def __init__(self, folder: Path, *script: Callable[[], int | None]) -> None:
        self.folder, self.turns, self.clock = folder, Turns(), FakeClock()
        self.script = list(script)
        self.num_started = self.num_killed = 0
        self.began_s: list[float] = []
        self.ending = threading.Event()

    def start(self, _folder: Path) -> Bench:
        if self.num_started == len(self.script):
            self.ending.set()
        self.num_started += 1
        self.began_s.append(self.clock.monotonic_s())
        return self

    def poll(self) -> int | None:
        number = self.num_started - 1
        return self.script[number]() if number < len(self.script) else None

    def kill(self) -> None:
        self.num_killed += 1

    def wait(self) -> int:
        return 0

    def run(self) -> list[str]:
        """Events of the log."""
        anew = PreparingAnew(
            self.folder, self.turns, self.clock, start=self.start, busy=lambda: 0.0
        )
        with capture_logs() as lines:
            anew.run(self.ending)
        return [line["event"] for line in lines]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared here."""
    folder = make_tiny_export(tmp_path_factory.mktemp("anew"))[1].dir
    prepare(folder, threads=[1], num_questions=2, progress=ignore)
    return folder


@pytest.fixture
def moved(export: Path, tmp_path: Path) -> Path:
    """The same, with a choice of another machine."""
    folder = tmp_path / "export"
    shutil.copytree(export, folder)
    choose(folder, "another")
    return folder


def choose(folder: Path, machine: str) -> None:
    file = folder / PREPARED_FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), "machine": machine}))


def test_only_a_choice_of_elsewhere_is_outdated(export: Path, moved: Path, tmp_path: Path) -> None:
    assert not is_outdated(export)
    assert is_outdated(moved)
    assert not is_outdated(tmp_path)
    (moved / PREPARED_FILE).write_text("broken")
    assert not is_outdated(moved)


def test_it_is_made_while_nobody_asks_and_said(export: Path, moved: Path) -> None:
    def made() -> int:
        shutil.copy(export / PREPARED_FILE, moved / PREPARED_FILE)
        return 0

    bench = Bench(moved, made)
    assert bench.run() == ["prepare.begun", "prepare.done"]
    assert bench.began_s[0] >= IDLE_S
    assert read_prepared(moved, ("fp32", "int8", "int4")) is not None


def test_a_question_ends_it_and_it_is_put_off_longer_each_time(moved: Path) -> None:
    bench = Bench(moved)

    def asked() -> None:
        with bench.turns:
            pass

    bench.script = [asked, asked, asked]
    told = bench.run()
    assert bench.num_killed == bench.num_started == 4
    assert told == ["prepare.begun", "prepare.put_off", *["prepare.begun"] * 3]
    waits = [b - a for a, b in zip(bench.began_s, bench.began_s[1:], strict=False)]
    assert waits[0] >= 2 * IDLE_S
    assert waits == sorted(waits)
    assert max(waits) <= 1.1 * LONGEST_WAIT_S


def test_nothing_begins_beside_an_answer_or_other_work(moved: Path) -> None:
    bench = Bench(moved, lambda: 0)
    looks = iter(range(4))

    def busy() -> float:
        if next(looks, None) is None:
            bench.ending.set()
        return 0.9

    anew = PreparingAnew(moved, bench.turns, bench.clock, start=bench.start, busy=busy)
    with capture_logs() as lines:
        anew.run(bench.ending)
    assert [line["event"] for line in lines] == ["prepare.put_off"]
    assert bench.num_started == 0


def test_what_takes_too_long_or_fails_is_not_tried_again(moved: Path) -> None:
    bench = Bench(moved)
    bench.script = [lambda: bench.clock.advance(LIMIT_S)]
    assert bench.run() == ["prepare.begun", "prepare.failed"]
    assert bench.num_killed == 1
    failing = Bench(moved, lambda: 1)
    assert failing.run() == ["prepare.begun", "prepare.failed"]
    assert failing.num_started == 1


@pytest.mark.parametrize("name", [EXPORT_FILE, "tokenizer.json"])
def test_an_export_that_loses_a_file_meanwhile_is_a_failed_try(
    export: Path, moved: Path, name: str
) -> None:
    def made() -> int:
        shutil.copy(export / PREPARED_FILE, moved / PREPARED_FILE)
        (moved / name).unlink(missing_ok=True)
        return 0

    assert Bench(moved, made).run() == ["prepare.begun", "prepare.failed"]


def test_the_end_of_the_device_ends_it(moved: Path) -> None:
    bench = Bench(moved)

    def end() -> None:
        bench.ending.set()

    bench.script = [end]
    assert bench.run() == ["prepare.begun"]
    assert bench.num_killed == 1
