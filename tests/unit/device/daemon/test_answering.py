"""Questions of many threads at one daemon: each is answered, replied to, and then counted once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from driftline_device.daemon.daemon import Daemon
from driftline_device.daemon.listener import AbandonedError
from driftline_device.runtime.runtime import Answer, Question
from driftline_device.sampling.sampler import Sampler
from driftline_device.sources.table import open_source
from driftline_shared.errors import DataError, DriftlineError, Reason
from driftline_shared.status import Correction
from tests.fakes.api_device import TalkingRuntime, running_device
from tests.fakes.runtime import picture, stream, write_dataset, write_pair
from tests.fakes.waiting import until

NUM_THREADS, NUM_EACH = 4, 10


@pytest.fixture
def runtime() -> TalkingRuntime:
    return TalkingRuntime()


@pytest.fixture
def daemon(tmp_path: Path, runtime: TalkingRuntime) -> Iterator[Daemon]:
    settings: dict[str, object] = {"api.port": 0, "events": str(tmp_path / "events.jsonl")}
    pair = write_pair(tmp_path / "pair")
    with running_device(tmp_path / "state", pair, runtime, **settings) as running:
        yield running.daemon


def one_question(number: int = 1, *, hard: bool = False) -> Question:
    image = picture(number, hard=hard)
    return Question(image=image, text="what?", domain="asked", place="here")


class Noting:
    """Writes down what it is notified of; leaves after `patience` tokens."""

    def __init__(self, notes: list[Any], patience: int = 99) -> None:
        self._notes = notes
        self._patience = patience

    waits = False

    def on_start(self) -> None:
        self._notes.append("started")

    def on_wait(self) -> None:
        raise AssertionError("nobody waits")

    def on_text(self, text: str) -> None:
        self._patience -= 1
        if self._patience < 0:
            raise AbandonedError
        self._notes.append(text)

    def on_answer(self, answer: Answer, correction: Correction | None = None) -> None:
        self._notes.append(answer)


def test_the_reply_comes_before_sampling(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[Any] = []
    consider = Sampler.consider

    def noted(self: Sampler, *args: Any) -> Any:
        notes.append("sampled")
        return consider(self, *args)

    monkeypatch.setattr(Sampler, "consider", noted)
    answer = daemon.ask(one_question(), Noting(notes))
    assert notes == ["started", "v0", "v0 green", "v0 green v0", answer, "sampled"]
    assert daemon.snapshot().num_seen == 1


def test_whoever_leaves_counts_neither_as_an_answer_nor_as_an_error(
    daemon: Daemon, runtime: TalkingRuntime
) -> None:
    notes: list[Any] = []
    with pytest.raises(AbandonedError):
        daemon.ask(one_question(), Noting(notes, patience=1))
    assert (notes, runtime.num_words_said) == (["started", "v0"], 2)
    snapshot = daemon.snapshot()
    assert (snapshot.num_answered, snapshot.num_errors, snapshot.num_seen) == (0, 0, 0)


def test_after_an_error_the_asker_hears_a_new_beginning(
    daemon: Daemon, runtime: TalkingRuntime
) -> None:
    notes: list[Any] = []
    runtime.failures = 1
    daemon.ask(one_question(), Noting(notes))
    assert notes[:4] == ["started", "v0", "started", "v0"]
    runtime.failures = 9
    with pytest.raises(DriftlineError) as failed:
        daemon.ask(one_question())
    assert failed.value.reason is Reason.INTERNAL
    assert (daemon.snapshot().num_answered, daemon.snapshot().num_errors) == (1, 1)


def test_an_asker_that_breaks_harms_nobody(daemon: Daemon) -> None:
    class Broken(Noting):
        def on_answer(self, answer: Answer, correction: Correction | None = None) -> None:
            raise RuntimeError("broken on purpose")

    assert daemon.ask(one_question(), Broken([])).text == "v0 green v0"
    assert daemon.snapshot().num_answered == 1


def test_many_threads_and_a_source_at_once(tmp_path: Path, daemon: Daemon) -> None:
    path = write_dataset(tmp_path / "data", stream(NUM_EACH, hard=True))
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        asked = [
            pool.submit(daemon.ask, one_question(number, hard=number % 2 == 0))
            for number in range(NUM_THREADS * NUM_EACH)
        ]
        assert daemon.run(open_source(path)) >= NUM_EACH
        assert {each.result().version for each in asked} == {0}
    rows = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    total = (NUM_THREADS + 1) * NUM_EACH
    assert [row["n"] for row in rows] == list(range(1, total + 1))
    assert sum(row["segment"] == "asked" for row in rows) == NUM_THREADS * NUM_EACH
    snapshot = daemon.snapshot()
    assert (snapshot.num_answered, snapshot.num_seen) == (total, total)
    assert snapshot.domains["asked"]["num_answered"] == NUM_THREADS * NUM_EACH


def test_stopping_waits_for_questions_in_hand(daemon: Daemon, runtime: TalkingRuntime) -> None:
    runtime.go.clear()
    with ThreadPoolExecutor(2) as pool:
        in_hand = pool.submit(daemon.ask, one_question())
        assert runtime.waiting.wait(30.0)
        stopped = pool.submit(daemon.stop, 0.1)
        until(lambda: not daemon.ready)
        with pytest.raises(DriftlineError) as late:
            daemon.ask(one_question())
        assert late.value.reason is Reason.STOPPING
        assert not stopped.done()
        runtime.go.set()
        assert in_hand.result().text == "v0 green v0"
        assert stopped.result()
    assert daemon.snapshot().num_answered == 1
    assert not [each for each in threading.enumerate() if each.name.startswith("driftline-")]


class PickyRuntime(TalkingRuntime):
    """Raises DataError for the questions that name a fault of theirs, as a real model does."""

    def answer(self, questions: Any, *, on_token: Any = None) -> list[Answer]:
        self.calls += len(questions)
        if any("too long" in question.text for question in questions):
            raise DataError("the question is 900 tokens long, and this model has room for 200")
        return super().answer(questions, on_token=on_token)


@pytest.mark.parametrize(
    "text", ["what is too long?", "", "  \n", "a\0b", "half \ud800", "x" * 5_000]
)
def test_a_fault_of_the_asker_is_told_once_and_never_blamed_on_the_version(
    tmp_path: Path, text: str
) -> None:
    runtime = PickyRuntime()
    pair = write_pair(tmp_path / "pair")
    settings: dict[str, object] = {"api.port": 0, "watch.max_errors": 1}
    with running_device(tmp_path / "state", pair, runtime, **settings) as running:
        parts = running.daemon._parts
        blamed: list[int] = []
        parts.applier.errored = lambda: blamed.append(1)  # type: ignore[method-assign]
        before = runtime.calls
        with pytest.raises(DataError):
            running.daemon.ask(replace(one_question(), text=text))
        assert runtime.calls - before <= 1, "an input error is not tried again"
        assert "green" in running.daemon.ask(one_question()).text

        broken = running.daemon.snapshot().num_broken_rows
        rows = [one_question(0), replace(one_question(1), text=text), one_question(2)]
        num_refused = running.daemon._answering.handle(rows, segment="s", keep_every_s=1.0)
        assert (num_refused, broken) == (1, 0)
        reading = parts.meter.read()
        assert (reading.num_answered, reading.num_errors, blamed) == (3, 0, [])


def test_a_fault_of_the_model_is_still_blamed_on_the_version(tmp_path: Path) -> None:
    class Broken(TalkingRuntime):
        def answer(self, questions: Any, *, on_token: Any = None) -> list[Answer]:
            raise RuntimeError("a kernel failed")

    with running_device(tmp_path / "state", write_pair(tmp_path / "pair"), Broken()) as running:
        blamed: list[int] = []
        applier = running.daemon._parts.applier
        applier.errored = lambda: blamed.append(1)  # type: ignore[method-assign]
        with pytest.raises(DriftlineError) as caught:
            running.daemon.ask(one_question())
        assert caught.value.reason is Reason.INTERNAL and blamed
