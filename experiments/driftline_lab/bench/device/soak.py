"""A device under full load for a long time: does its memory stay flat, does a request ever fail."""

from __future__ import annotations

import base64
import io
import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from rich.console import Console
from rich.progress import Progress

from driftline_lab.bench.device.load import load
from driftline_lab.bench.memory import resident_bytes
from driftline_lab.data.streams import Segment, stream
from driftline_lab.demo.processes import Program, program
from driftline_lab.demo.settings import assigned
from driftline_shared.errors import DriftlineError
from driftline_shared.host.loopback import free_port

NUM_QUESTIONS = 64
SAMPLE_S = 5.0
READY_S = 120.0
WARM_SHARE = 0.1
"""Share of the time that is left out at the start: caches fill."""


def run_soak(
    pair: str, *, runtime: str, minutes: float, clients: int, work: Path, settings: Sequence[str]
) -> dict[str, Any]:
    """`resident`: bytes of the device's process; `drift`: the last tenth over the first after
    warm-up, less 1. Requests are answered, sampled and spooled as in a device's life.
    """
    port = free_port()
    words = ["device", "run", "--pair", pair, "--api-port", str(port)]
    words += ["--state", str(work / "state"), *assigned((f"runtime={runtime}", *settings))]
    url = f"http://127.0.0.1:{port}"
    with program("device", words, work / "device.log") as device:
        _wait_ready(url, device)
        bodies = _bodies(_model(url))

        def ask(number: int) -> None:
            _post(f"{url}/v1/chat/completions", bodies[number % len(bodies)])

        with load(ask, clients) as seen:
            resident = _sampled(minutes * 60.0, device.process.pid)
    tenth = max(1, len(resident) // 10)
    warm = resident[max(1, int(WARM_SHARE * len(resident))) :]
    begin, end = statistics.median(warm[:tenth]), statistics.median(warm[-tenth:])
    return {
        "pair": pair,
        "runtime": runtime,
        "minutes": minutes,
        "clients": clients,
        "requests": len(seen.seconds) + len(seen.failures),
        "failed": len(seen.failures),
        "first_failures": seen.failures[:5],
        "requests_per_s": (len(seen.seconds) + len(seen.failures)) / (minutes * 60.0),
        "answer_ms_median": 1e3 * statistics.median(seen.seconds or [math.nan]),
        "resident_begin": begin,
        "resident_end": end,
        "drift": end / begin - 1.0,
        "resident": resident,
        "exit_code": device.process.returncode,
    }


def _sampled(seconds: float, pid: int) -> list[int]:
    """Resident bytes of the process, every `SAMPLE_S`."""
    resident = []
    end = time.monotonic() + seconds
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("soaking", total=seconds)
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(SAMPLE_S, left))
            resident.append(resident_bytes(pid))
            bar.update(task, completed=seconds - max(0.0, end - time.monotonic()))
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


def _wait_ready(url: str, device: Program) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and device.running():
        try:
            with urlopen(f"{url}/ready", timeout=2.0):
                return
        except OSError:
            time.sleep(0.2)
    raise DriftlineError(f"the device is not ready: {device.tail(40)}")
