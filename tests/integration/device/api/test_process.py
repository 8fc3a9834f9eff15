"""A real `driftline device run --api-port`: it holds without a source, and SIGTERM drains it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from openai import OpenAI

from tests.fakes.api_device import data_url, free_port, messages
from tests.fakes.tiny_pair import random_image
from tests.fakes.waiting import until

pytestmark = pytest.mark.integration


def test_it_answers_until_it_is_told_to_stop(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "driftline_shared.program.cli", "device", "run", "--json"]
    flags = ["--api-port", str(port), "--state", str(tmp_path / "state"), "--pair", "tiny"]
    process = subprocess.Popen(
        [*command, *flags],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        with OpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0
        ) as client:

            def ready() -> bool:
                assert process.poll() is None, process.stderr and process.stderr.read()
                try:
                    client.get("/../ready", cast_to=object)
                except Exception:
                    return False
                return True

            until(ready, 120.0)
            (model,) = client.models.list()
            image = data_url(random_image(3))
            found = client.chat.completions.create(model=model.id, messages=messages(url=image))
            assert found.choices[0].message.content
        process.send_signal(signal.SIGTERM)
        out, log = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, log.decode()
    answer, snapshot = map(json.loads, out.splitlines())
    assert (answer["kind"], answer["feed"]) == ("answer", "api")
    assert answer["answer"] == found.choices[0].message.content
    assert (snapshot["num_answered"], snapshot["activity"]) == (1, "stopped")
    assert b"Traceback" not in log
