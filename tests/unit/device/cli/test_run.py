"""What `run` says at its start."""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest
from pydantic import SecretStr

from driftline_device.api.settings import ApiConfig
from driftline_device.cli.run import try_it


@pytest.mark.parametrize(
    ("host", "place"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("cam", "cam")],
)
def test_the_line_to_try_is_one_for_a_shell(host: str, place: str) -> None:
    token = "x" * 16
    line = try_it(ApiConfig(host=host, port=8000, token=SecretStr(token)))
    assert token not in line
    line = line.removeprefix("try it:  ")
    # The shell's own reading of it, with programs that only say what they are given.
    said = "curl() { printf '%s\\0' \"$@\"; }; base64() { printf QUJD; }; "
    said += f"DRIFTLINE_TOKEN={token}; "
    done = subprocess.run(["bash", "-c", said + line], capture_output=True, text=True, check=True)
    words = done.stdout.split("\0")
    assert f"authorization: Bearer {token}" in words
    assert f"http://{place}:8000/v1/chat/completions" in words
    body = json.loads(words[words.index("-d") + 1])
    parts = body["messages"][0]["content"]
    assert parts[1]["image_url"]["url"] == "data:image/png;base64,QUJD"
    assert shlex.split(line)[0] == "curl"
