"""A device that asks the teacher when it is unsure, with a real cloud over real gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from driftline_cloud.config import load_config
from driftline_cloud.jobs import Label
from driftline_cloud.service.server import serve
from driftline_cloud.work.program import Worker
from driftline_device.escalation.book import Book
from driftline_shared.callbacks import Progress
from driftline_shared.host.loopback import free_port
from driftline_shared.pair.pair import load_pair
from driftline_shared.tokens import Sample
from tests.fakes.api_device import Running, data_url, request, running_device
from tests.fakes.cloud import ReckoningWorkers, fake_makers
from tests.fakes.runtime import FakeRuntime, picture, write_pair
from tests.fakes.waiting import until

pytestmark = pytest.mark.integration

WAIT_S = 60.0
ASKING: dict[str, object] = {
    "escalate": "uncertain",
    "escalate_share": 1.0,
    "sampling.max_sample_share": 1.0,
    "poll_s": 0.05,
    "api.max_waiting": 2,
}
POLICY: dict[str, object] = {
    "sampling.token_scorer": "magnitude",
    "sampling.max_sample_share": 1.0,
    "sampling.repeat_distance": 0.0,
}


class Teacher(ReckoningWorkers):
    """Answers "teacher", once `go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.go.set()

    def label(self, pair_dir: Path, samples: Sequence[Sample], progress: Progress) -> list[Label]:
        assert self.go.wait(WAIT_S)
        self.num_labelled += len(samples)
        return [
            Label(sample_id=each.id, text="teacher", tokens=(1,), confidence=0.75)
            for each in samples
        ]


class Cloud:
    """A real cloud on one port; its state outlives `stop` and `start`."""

    def __init__(self, state: Path, pair_dir: Path) -> None:
        self.port = free_port()
        self.teacher = Teacher()
        self._pair = load_pair(pair_dir)
        self._settings: dict[str, Any] = {
            "state": state,
            "listen": f"127.0.0.1:{self.port}",
            "drain_s": 0.5,
            "rounds.trigger.enabled": False,
            "escalation.poll_s": 0.02,
            **POLICY,
        }
        self._thread: threading.Thread | None = None
        self._working: threading.Thread | None = None
        self._halt = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        ready: Future[int] = Future()
        config = load_config(None, self._settings, environment={})
        makers = fake_makers(self.teacher, lambda _name: self._pair)

        async def run() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            await serve(config, makers, stop=self._stop, ready=ready.set_result)

        self._thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        self._thread.start()
        ready.result(WAIT_S)
        self._halt = threading.Event()
        worker = Worker(config=config, makers=makers, owner="tests")
        self._working = threading.Thread(target=worker.run, args=(self._halt,), daemon=True)
        self._working.start()

    def stop(self) -> None:
        if self._thread is None or self._loop is None or self._stop is None:
            return
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        self._thread = None
        self._halt.set()
        if self._working is not None:
            self._working.join(WAIT_S)
            assert not self._working.is_alive()


@pytest.fixture
def pair_dir(tmp_path: Path) -> Path:
    return write_pair(tmp_path / "pair")


def _runtime(pair_dir: Path) -> FakeRuntime:
    """One that the cloud knows: of the pair's own base model."""
    runtime = FakeRuntime()
    runtime.base_model = load_pair(pair_dir).base_model
    return runtime


@pytest.fixture
def cloud(tmp_path: Path, pair_dir: Path) -> Iterator[Cloud]:
    found = Cloud(tmp_path / "cloud", pair_dir)
    found.start()
    yield found
    found.teacher.go.set()
    found.stop()


@pytest.fixture
def device(
    tmp_path: Path, pair_dir: Path, cloud: Cloud
) -> Callable[..., contextlib.AbstractContextManager[Running]]:
    @contextmanager
    def run(**changes: object) -> Iterator[Running]:
        settings = {
            **ASKING,
            "cloud": cloud.address,
            "events": str(tmp_path / "events.jsonl"),
            **changes,
        }
        with running_device(
            tmp_path / "state", pair_dir, _runtime(pair_dir), **settings
        ) as running:
            yield running

    return run


Run = Callable[..., contextlib.AbstractContextManager[Running]]


def _connected(running: Running) -> bool:
    return bool(running.daemon.snapshot().link["connected"])


def _ask(running: Running, number: int, **changes: Any) -> tuple[dict[str, str], dict[str, Any]]:
    url = data_url(picture(1, hard=True, noise=number))
    content = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    body = request(messages=[{"role": "user", "content": content}], **changes)
    status, headers, reply = running.ask(body)
    assert status == 200, reply
    return headers, reply


def _text(reply: dict[str, Any]) -> str:
    return str(reply["choices"][0]["message"]["content"])


def _events(folder: Path, kind: str) -> list[dict[str, Any]]:
    path = folder / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def _corrected(running: Running, num: int) -> Callable[[], bool]:
    return lambda: running.daemon.snapshot().escalation["corrected"] == num


def test_what_comes_in_time_is_the_answer_and_says_so(device: Run, tmp_path: Path) -> None:
    with device(escalate_wait_ms=60_000) as running:
        until(lambda: _connected(running))
        headers, reply = _ask(running, 1)
        assert _text(reply) == "teacher"
        assert headers["x-driftline-answered-by"] == "cloud"
        told = reply["driftline"]
        assert (told["answered_by"], told["device_answer"]) == ("cloud", "blue")
        assert told["teacher_confidence"] == pytest.approx(0.75)
        until(lambda: len(_events(tmp_path, "correction")) == 1)
        until(_corrected(running, 1))
    (answer,), (correction,) = _events(tmp_path, "answer"), _events(tmp_path, "correction")
    assert correction["corrects"] == answer["id"] == told["answer_id"]
    assert correction["sample"] == answer["sample"]
    assert (correction["answer"], correction["device_answer"]) == ("teacher", "blue")
    assert (correction["in_time"], correction["agrees"]) == (True, False)
    assert answer["answer"] == "blue"  # what was said here stays what was said here


def test_what_comes_late_is_told_and_stands_in_the_history(
    device: Run, cloud: Cloud, tmp_path: Path
) -> None:
    cloud.teacher.go.clear()
    with device() as running:
        headers, reply = _ask(running, 1)
        assert (_text(reply), headers["x-driftline-answered-by"]) == ("blue", "device")
        assert _events(tmp_path, "correction") == []
        cloud.teacher.go.set()
        until(_corrected(running, 1))
        (event,) = _events(tmp_path, "correction")
        assert event["in_time"] is False

        def shown() -> bool:
            _, _, page = running.send("GET", "/history")
            return "teacher" in page

        until(shown)
    book = Book(tmp_path / "state", keeper=False)
    tally = book.tally(now_s=time.time())
    book.close()
    assert (tally.asked, tally.corrected, tally.agreed, tally.in_time) == (1, 1, 0, 0)
    assert tally.num_bytes > 0


def test_while_one_waits_another_is_answered_and_the_bound_of_the_queue_holds(
    device: Run, cloud: Cloud
) -> None:
    cloud.teacher.go.clear()
    with device(escalate_wait_ms=60_000) as running, ThreadPoolExecutor(3) as pool:
        until(lambda: _connected(running))
        waiting = [pool.submit(_ask, running, number) for number in range(2)]
        until(lambda: running.daemon.snapshot().escalation["waiting"] == 2)
        _, streamed = _stream(running, 3)  # the third place: a stream does not wait
        assert '"answered_by":"device"' in streamed
        third = pool.submit(_ask, running, 4)
        until(lambda: running.daemon.snapshot().escalation["waiting"] == 4)
        status, _, _ = running.ask(request())
        assert status in (429, 503)
        cloud.teacher.go.set()
        assert {_text(each.result(WAIT_S)[1]) for each in [*waiting, third]} == {"teacher"}


def _stream(running: Running, number: int) -> tuple[dict[str, str], str]:
    url = data_url(picture(1, hard=True, noise=number))
    content = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    body = request(messages=[{"role": "user", "content": content}], stream=True)
    status, headers, text = running.ask(body)
    assert status == 200
    return headers, str(text)


def test_a_cloud_that_stops_ends_the_wait_and_answers_after_its_restart(
    device: Run, cloud: Cloud, tmp_path: Path
) -> None:
    cloud.teacher.go.clear()
    with device(escalate_wait_ms=600_000) as running, ThreadPoolExecutor(1) as pool:
        until(lambda: _connected(running))
        waiting = pool.submit(_ask, running, 1)
        until(lambda: running.daemon.snapshot().spool["num_acked"] == 1)
        threading.Timer(0.1, cloud.teacher.go.set).start()
        cloud.teacher.go.clear()
        stopping = threading.Thread(target=cloud.stop)
        stopping.start()
        headers, reply = waiting.result(WAIT_S)
        cloud.teacher.go.set()
        stopping.join(WAIT_S)
        by = headers["x-driftline-answered-by"]
        assert _text(reply) == {"device": "blue", "cloud": "teacher"}[by]
        cloud.start()
        until(_corrected(running, 1))
        assert len(_events(tmp_path, "correction")) == 1


def test_corrections_of_before_a_restart_of_the_device_come_after_it(
    device: Run, cloud: Cloud, tmp_path: Path
) -> None:
    cloud.teacher.go.clear()
    with device() as running:
        _ask(running, 1)
        until(lambda: running.daemon.snapshot().spool["num_acked"] == 1)
    cloud.teacher.go.set()
    with device() as running:
        until(_corrected(running, 1))
    assert [event["device_answer"] for event in _events(tmp_path, "correction")] == ["blue"]


def test_without_a_cloud_it_answers_as_before(
    device: Run, cloud: Cloud, tmp_path: Path, pair_dir: Path
) -> None:
    cloud.stop()
    with device(escalate_wait_ms=600_000) as running:
        headers, reply = _ask(running, 1)
        assert (_text(reply), headers["x-driftline-answered-by"]) == ("blue", "device")
        assert running.daemon.snapshot().escalation["waiting"] == 1
        cloud.start()  # it comes back: the answer is told late
        until(_corrected(running, 1))
    alone = running_device(
        tmp_path / "alone", pair_dir, FakeRuntime(), **{**ASKING, "escalate_wait_ms": 600_000}
    )
    with alone as running:
        assert _text(_ask(running, 1)[1]) == "blue"
        assert running.daemon.snapshot().escalation == {}
    assert not (tmp_path / "alone" / "escalation.sqlite").exists()


def test_what_asks_goes_before_what_waits(device: Run, cloud: Cloud, tmp_path: Path) -> None:
    cloud.stop()
    with device(escalate="never") as running:
        for number in range(1, 9):
            _ask(running, number)
    with device() as running:
        _ask(running, 9)
        waiting = running.daemon.snapshot().spool["num_samples"]
        assert waiting > 1
        cloud.start()
        until(_corrected(running, 1))
        until(lambda: running.daemon.snapshot().spool["num_samples"] == 0)
    assert cloud.teacher.num_labelled == 1
