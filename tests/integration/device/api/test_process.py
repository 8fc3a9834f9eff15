"""A real `driftline device run --api-port`: it holds without a source, and SIGTERM drains it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from openai import OpenAI
from PIL import Image

from driftline_shared.host.loopback import free_port
from tests.fakes.api_device import data_url, messages
from tests.fakes.tiny_pair import random_image
from tests.fakes.waiting import until

pytestmark = pytest.mark.integration


TOKEN = "0123456789abcdef"


def test_it_answers_until_it_is_told_to_stop(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "driftline_shared.program.cli", "device", "run", "--json"]
    flags = ["--api-port", str(port), "--state", str(tmp_path / "state"), "--pair", "tiny"]
    (tmp_path / "the token").write_text(f"{TOKEN}\n")
    Image.fromarray(random_image(3)).save(tmp_path / "picture.png")
    shown = tmp_path / "shown"
    with shown.open("wb") as standard_error:
        process = subprocess.Popen(
            [*command, *flags, "--set", f"api.token_file={tmp_path / 'the token'}"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=standard_error,
        )
    try:
        with OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=TOKEN, max_retries=0) as client:

            def ready() -> bool:
                assert process.poll() is None, shown.read_text()
                return b"\ntry it:  " in shown.read_bytes()

            until(ready, 120.0)
            (model,) = client.models.list()
            image = data_url(random_image(3))
            found = client.chat.completions.create(model=model.id, messages=messages(url=image))
            assert found.choices[0].message.content
        # What it says to try is one for a shell, and works as it stands.
        line = re.search(r"^try it:  (.*)$", shown.read_text(), re.MULTILINE)
        assert line is not None
        tried = subprocess.run(
            ["bash", "-c", line[1]], cwd=tmp_path, capture_output=True, check=True
        )
        assert json.loads(tried.stdout)["choices"][0]["message"]["content"]
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    log = shown.read_bytes()
    assert process.returncode == 0, log.decode()
    answer, _, snapshot = map(json.loads, out.splitlines())
    assert (answer["kind"], answer["feed"]) == ("answer", "api")
    assert answer["answer"] == found.choices[0].message.content
    assert (snapshot["num_answered"], snapshot["activity"]) == (2, "stopped")
    assert b"Traceback" not in log
