"""A device under full load for a long time: does its memory stay flat, does a request ever fail."""

from __future__ import annotations

import base64
import io
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from rich.console import Console
from rich.progress import Progress

from driftline_lab.bench.memory import resident_bytes
from driftline_lab.data.streams import Segment, stream
from driftline_shared.errors import DriftlineError

NUM_QUESTIONS = 64
SAMPLE_S = 5.0
READY_S = 120.0
WARM_SHARE = 0.1
"""Share of the time that is left out at the start: caches fill."""


@dataclass(kw_only=True)
class _Clients:
    """Threads that ask the device over its API without a pause."""

    url: str
    bodies: Sequence[bytes]
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, first: int) -> None:
        number = first
        while not self.stopping.is_set():
            start = time.perf_counter()
            try:
                _post(self.url, self.bodies[number % len(self.bodies)])
            except OSError as error:
                self.failures.append(str(error))
            self.seconds.append(time.perf_counter() - start)
            number += 1


def run_soak(
    pair: str, *, runtime: str, minutes: float, clients: int, work: Path, settings: Sequence[str]
) -> dict[str, Any]:
    """`resident`: bytes of the device's process; `drift`: the last tenth over the first after
    warm-up, less 1. Requests are answered, sampled and spooled as in a device's life.
    """
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "driftline_shared.program.cli",
        "device",
        "run",
        "--pair",
        pair,
    ]
    command += ["--state", str(work / "state"), "--api-port", str(port)]
    for setting in (f"runtime={runtime}", *settings):
        command += ["--set", setting]
    log = work / "device.log"
    with log.open("wb") as out:
        device = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_ready(url, device, log)
        load = _Clients(url=f"{url}/v1/chat/completions", bodies=_bodies(_model(url)))
        resident = _load(load, clients, minutes * 60.0, lambda: resident_bytes(device.pid))
    finally:
        device.terminate()
        code = device.wait(timeout=60.0)
    tenth = max(1, len(resident) // 10)
    warm = resident[max(1, int(WARM_SHARE * len(resident))) :]
    begin, end = statistics.median(warm[:tenth]), statistics.median(warm[-tenth:])
    return {
        "pair": pair,
        "runtime": runtime,
        "minutes": minutes,
        "clients": clients,
        "requests": len(load.seconds),
        "failed": len(load.failures),
        "first_failures": load.failures[:5],
        "requests_per_s": len(load.seconds) / (minutes * 60.0),
        "answer_ms_median": 1e3 * statistics.median(load.seconds),
        "resident_begin": begin,
        "resident_end": end,
        "drift": end / begin - 1.0,
        "resident": resident,
        "exit_code": code,
    }


def _load(load: _Clients, clients: int, seconds: float, read: Callable[[], int]) -> list[int]:
    threads = [threading.Thread(target=load.run, args=(7 * n,)) for n in range(clients)]
    resident = []
    end = time.monotonic() + seconds
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("soaking", total=seconds)
        for thread in threads:
            thread.start()
        try:
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(SAMPLE_S, left))
                resident.append(read())
                bar.update(task, completed=seconds - max(0.0, end - time.monotonic()))
        finally:
            load.stopping.set()
            for thread in threads:
                thread.join()
    return resident


def _model(url: str) -> str:
    """The name of what the device serves."""
    with urlopen(f"{url}/v1/models", timeout=10.0) as reply:
        return str(json.loads(reply.read())["data"][0]["id"])


def _bodies(model: str) -> list[bytes]:
    events = stream([Segment(domain="night", num_questions=NUM_QUESTIONS)])
    return [_body(model, event.picture(), event.question) for event in events]


def _body(model: str, picture: Any, question: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": question},
    ]
    return json.dumps({"model": model, "messages": [{"role": "user", "content": content}]}).encode()


def _post(url: str, body: bytes) -> None:
    request = Request(url, data=body, headers={"content-type": "application/json"})
    with urlopen(request, timeout=60.0) as reply:
        json.loads(reply.read())["choices"][0]["message"]["content"]


def _wait_ready(url: str, device: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and device.poll() is None:
        try:
            with urlopen(f"{url}/ready", timeout=2.0):
                return
        except OSError:
            time.sleep(0.2)
    raise DriftlineError(f"the device is not ready: {log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
