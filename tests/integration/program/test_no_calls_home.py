"""Device and cloud where nothing outside can be reached, and what they ask the system for there.

A network namespace without a route holds both; strace, where it is at hand, sees every address that
either of them tries to reach, name servers included.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.fakes.tiny_export import make_tiny_export
from tests.fakes.tiny_pair import QUESTIONS, random_image

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(450)]

INSIDE = """
import fcntl, json, os, socket, struct, subprocess, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:  # what `ip link set lo up` does
    fcntl.ioctl(link, 0x8914, struct.pack("16sh", b"lo", 0x1))
plan = json.loads(sys.argv[1])
cloud = subprocess.Popen(plan["cloud"], stdout=subprocess.DEVNULL)
try:
    for _ in range(1200):
        if os.path.exists(plan["port"]) or cloud.poll() is not None:
            break
        time.sleep(0.1)
    port = open(plan["port"]).read().strip()
    for command in plan["commands"]:
        done = subprocess.run([word.replace("PORT", port) for word in command])
        if done.returncode:
            sys.exit(f"{command} ended with {done.returncode}")
finally:
    cloud.terminate()
    cloud.wait()
"""

LOCAL = re.compile(r'inet_addr\("127\.|inet_pton\(AF_INET6, "(::1|::ffff:127\.)')


@pytest.fixture(scope="module")
def alone() -> list[str]:
    """The words that start a program in a network namespace of its own."""
    words = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], check=False).returncode:
        pytest.skip("no network namespace can be made here")
    return words


def outside(trace: str) -> list[str]:
    """Lines of a trace that reach, or try to reach, an address that is not this machine."""
    lines = [line for line in trace.split("\n") if "sa_family=AF_INET" in line]
    return [line for line in lines if not LOCAL.search(line)]


def test_a_device_and_a_cloud_reach_for_nothing_outside(tmp_path: Path, alone: list[str]) -> None:
    pair, export = make_tiny_export(tmp_path)
    home, photos = tmp_path / "home", tmp_path / "photos"
    home.mkdir()
    photos.mkdir()
    for seed in range(3):
        Image.fromarray(random_image(seed)).save(photos / f"{seed}.png")
    driftline = [sys.executable, "-m", "driftline_shared.program.cli"]
    # -D: a signal to the process that is started here reaches the program, not its tracer.
    trace = ["strace", "-D", "-f", "-qq", "-e", "trace=connect,sendto,sendmmsg,sendmsg", "-s", "80"]
    traced = shutil.which("strace") is not None

    def seen(name: str, *words: object) -> list[str]:
        before = [*trace, "-o", str(tmp_path / f"{name}.trace")] if traced else []
        return [*before, *driftline, *map(str, words)]

    run = ["device", "run", "--source", photos, "--question", QUESTIONS[0], "--drain", "5"]
    plan = {
        "cloud": seen(
            "cloud", "cloud", "serve", "--state", tmp_path / "cloud", "--pair", pair.dir,
            "--listen", "127.0.0.1:0",
        ),
        "port": str(tmp_path / "cloud" / "port"),
        "commands": [
            seen("onnx", *run, "--pair", export.dir, "--state", tmp_path / "a",
                 "--cloud", "127.0.0.1:PORT"),
            seen("torch", *run, "--pair", pair.dir, "--state", tmp_path / "b",
                 "--cloud", "localhost:PORT"),
            seen("status", "cloud", "status", "--address", "127.0.0.1:PORT"),
        ],
    }  # fmt: skip
    held = {
        k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    }
    held |= {"HOME": str(home), "http_proxy": "http://192.0.2.1:3128"}
    held.pop("XDG_CACHE_HOME", None)
    done = subprocess.run(
        [*alone, sys.executable, "-c", INSIDE, json.dumps(plan)],
        env=held, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert [path for path in home.rglob("*") if "Microsoft" in str(path)] == []
    texts = {path.name: path.read_text() for path in tmp_path.glob("*.trace")}
    assert len(texts) == (4 if traced else 0)
    # What asks the cloud was seen to do so.
    asked = {name for name, text in texts.items() if '127.0.0.1"' in text}
    assert asked == texts.keys() - {"cloud.trace"}
    assert {name: outside(text) for name, text in texts.items() if outside(text)} == {}


def test_an_address_outside_is_seen() -> None:
    asked = (
        'connect(5, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.2")}, 16)'
    )
    home = (
        'connect(5, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16)'
    )
    assert outside(f"{home}\n{asked}\n") == [asked]
