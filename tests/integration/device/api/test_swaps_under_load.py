"""Adapters are swapped under constant load: no request fails, no answer mixes two versions."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftline_device.runtime.runtime import Question
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_shared.pair.pair import load_pair
from driftline_shared.update import Adapter
from tests.fakes.api_device import (
    Running,
    TalkingRuntime,
    data_url,
    messages,
    request,
    running_device,
)
from tests.fakes.runtime import adapter, write_pair
from tests.fakes.tiny_pair import QUESTIONS, make_tiny_pair, random_image

pytestmark = pytest.mark.integration

NUM_THREADS = 4


def version_of(body: dict[str, Any]) -> int:
    """The version that a reply names, the same in both places."""
    version = int(body["driftline"]["adapter_version"])
    assert body["system_fingerprint"].endswith(f"@{version}")
    return version


def heard(reply: tuple[int, dict[str, str], Any]) -> tuple[int, str]:
    """Version and text of a reply, whole or streamed."""
    status, headers, body = reply
    assert status == 200, body
    if headers["content-type"].startswith("application/json"):
        return version_of(body), body["choices"][0]["message"]["content"]
    events = [json.loads(line[6:]) for line in body.split("\n\n") if line.startswith("data: {")]
    assert "error" not in events[-1], events[-1]
    texts = [each["choices"][0]["delta"].get("content", "") for each in events]
    return version_of(events[-1]), "".join(texts)


def under_load(
    device: Running,
    bodies: list[dict[str, Any]],
    check: Callable[[int, int, str], None],
    swap: Callable[[int], None],
    num_swaps: int,
) -> Counter[int]:
    """Ask `bodies` round and round while `swap(version)` is called; answers by version."""
    done, failed = threading.Event(), []
    counts: Counter[int] = Counter()
    lock = threading.Lock()

    def load(number: int) -> None:
        try:
            while not done.is_set():
                number = (number + 1) % len(bodies)
                version, text = heard(device.ask(bodies[number]))
                check(number, version, text)
                with lock:
                    counts[version] += 1
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(NUM_THREADS)]
    for thread in threads:
        thread.start()
    for version in range(1, num_swaps + 1):
        before = sum(counts.values())
        swap(version)
        while sum(counts.values()) < before + 2 and not failed:
            threading.Event().wait(0.001)
    done.set()
    for thread in threads:
        thread.join()
    assert failed == []
    return counts


def test_every_answer_comes_from_one_version(tmp_path: Path) -> None:
    runtime = TalkingRuntime()

    def check(number: int, version: int, text: str) -> None:
        assert text == f"v{version} green v{version}"

    bodies = [request(stream=stream) for stream in (False, True)]
    with running_device(
        tmp_path / "state", write_pair(tmp_path / "pair"), runtime, **{"max_pixels": 100}
    ) as device:
        counts = under_load(
            device, bodies, check, lambda version: runtime.swap(adapter(), version), 100
        )
        assert device.daemon.snapshot().num_errors == 0
    assert len(counts) > 50


def test_a_real_model_says_what_the_version_it_names_says(tmp_path: Path) -> None:
    folder = make_tiny_pair(tmp_path / "pair")
    pair = load_pair(folder)
    runtime = TorchRuntime(pair)
    rng = np.random.default_rng(1)
    odd: Adapter = {
        name: (array + 0.5 * rng.standard_normal(array.shape)).astype(np.float32)
        for name, array in runtime.adapter().items()
    }
    adapters = [runtime.adapter(), odd]
    asked = [(random_image(number), QUESTIONS[number % 3]) for number in range(6)]
    questions = [Question(image=image, text=text) for image, text in asked]
    expected = []
    for number, held in enumerate(adapters):
        runtime.swap(held, number)
        expected.append([answer.text for answer in runtime.answer(questions)])
    runtime.swap(adapters[0], 0)
    assert expected[0] != expected[1]

    def check(number: int, version: int, text: str) -> None:
        assert text == expected[version % 2][number]

    bodies = [
        {
            "model": pair.name,
            "messages": messages(question=text, url=data_url(image)),
            "stream": number % 2 == 1,
        }
        for number, (image, text) in enumerate(asked)
    ]
    with running_device(tmp_path / "state", folder, runtime) as device:
        counts = under_load(
            device, bodies, check, lambda version: runtime.swap(adapters[version % 2], version), 8
        )
        assert device.daemon.snapshot().num_errors == 0
    assert len(counts) > 4
