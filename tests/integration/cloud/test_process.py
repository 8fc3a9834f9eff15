"""The cloud as an operator runs it: killed, restarted, asked for its status, told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from driftline_cloud.state import read_port
from driftline_proto.v1 import control_pb2_grpc, uplink_pb2_grpc
from driftline_shared import wire
from driftline_shared.pair.pair import Pair
from driftline_shared.rpc.status import fetch_status
from driftline_shared.status import Enrolment, LineStatus
from tests.fakes.cloud import make_sample
from tests.fakes.rounds import released_files
from tests.fakes.samples import as_sent, to_batch

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 90.0
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, bare: Pair) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def begin(*points: str, state: str = "state") -> subprocess.Popen[str]:
        words = ["-m", "tests.integration.cloud.cloud_main", str(tmp_path / state), str(bare.dir)]
        with (tmp_path / f"log{len(started)}").open("w") as file:
            process = subprocess.Popen(
                [sys.executable, *words, *points],
                cwd=ROOT,
                env={
                    **os.environ,
                    "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
                },
                stderr=file,
                text=True,
            )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(TIMEOUT_S)


def _address(process: subprocess.Popen[str], state: Path) -> str:
    """Where this very process listens: a port file of a killed one is removed at the start."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        port = read_port(state)
        if port is not None:
            try:
                fetch_status(f"127.0.0.1:{port}", timeout_s=2.0)
            except Exception:
                time.sleep(0.05)
                continue
            return f"127.0.0.1:{port}"
        time.sleep(0.05)
    raise AssertionError(f"the cloud did not come up: {process.poll()}")


def _send(address: str, pair: Pair, numbers: range) -> int:
    enrolment = Enrolment(
        device_id="d1",
        pair=pair.name,
        token_space=pair.token_space.digest,
        base_model=pair.base_model,
        adapter_version=0,
    )
    samples = [make_sample(n, pair.token_space) for n in numbers]
    with grpc.insecure_channel(address) as channel:
        stub = control_pb2_grpc.ControlStub(channel)
        stub.Enrol(wire.to_enrolment(enrolment), timeout=TIMEOUT_S)
        batch = to_batch("d1", pair.token_space.digest, samples)
        replies = uplink_pb2_grpc.UplinkStub(channel).Push(
            iter([as_sent(batch)]), timeout=TIMEOUT_S
        )
        return sum(len(reply.acks) for reply in replies)


def _wait(address: str, done: Callable[[LineStatus], bool]) -> LineStatus:
    deadline_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline_s:
        (line,) = fetch_status(address, timeout_s=TIMEOUT_S).lines
        if done(line):
            return line
        time.sleep(0.05)
    raise AssertionError("the cloud did not get there")


STATES = ("snapshot", "labelling", "distilling", "gating", "compressing", "releasing")


def _is_done(line: LineStatus) -> bool:
    return line.round is not None and line.round.state == "done"


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_S) == 0


@pytest.fixture
def undisturbed(tmp_path: Path, start: Start, bare: Pair) -> dict[str, bytes]:
    """The files that forty samples and one round make of a cloud that nobody disturbs."""
    cloud = start(state="undisturbed")
    address = _address(cloud, tmp_path / "undisturbed")
    assert _send(address, bare, range(40)) == 40
    _wait(address, _is_done)
    _end(cloud)
    return _released(tmp_path / "undisturbed")


def _released(state: Path) -> dict[str, bytes]:
    """What was released, without the moment at which it was."""
    files = released_files(state)
    return {name: data for name, data in files.items() if not name.endswith(".json")}


def test_who_works_is_killed_in_every_state_and_the_round_ends_as_if_nothing_had_happened(
    tmp_path: Path, start: Start, bare: Pair, undisturbed: dict[str, bytes]
) -> None:
    state = tmp_path / "state"
    points = [f"work:worked:{one}" for one in STATES]
    cloud = start(*points)
    address = _address(cloud, state)
    assert _send(address, bare, range(40)) == 40
    line = _wait(address, _is_done)
    assert len(list(state.glob("killed-work:*"))) == len(points)
    assert (line.newest_version, line.num_rounds, line.num_samples) == (1, 1, 40)
    _end(cloud)
    assert _released(state) == undisturbed


def test_a_cloud_killed_in_a_round_goes_on_where_it_was(
    tmp_path: Path, start: Start, bare: Pair, undisturbed: dict[str, bytes]
) -> None:
    state = tmp_path / "state"
    for state_of_round in ("labelling", "distilling", "releasing"):
        cloud = start(f"serve:worked:{state_of_round}")
        if state_of_round == "labelling":
            assert _send(_address(cloud, state), bare, range(40)) == 40
        assert cloud.wait(TIMEOUT_S) == -signal.SIGKILL
    second = start()
    address = _address(second, state)
    line = _wait(address, _is_done)
    assert (line.newest_version, line.num_rounds, line.num_samples) == (1, 1, 40)
    assert line.round is not None
    assert line.round.num_samples == 40
    assert line.num_waiting == 0

    done = _driftline("cloud", "status", "--address", address, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lines"][0]["newest_version"] == 1
    table = _driftline("cloud", "status", "--address", address)
    assert "d1" in table.stdout
    assert line.round.round_id in table.stdout

    _end(second)
    assert _released(state) == undisturbed
    assert read_port(state) is None
    gone = _driftline("cloud", "status", "--address", address, "--timeout", "2")
    assert gone.returncode == 1
    assert "fix:" in gone.stderr
    assert "unreachable" in gone.stderr


def test_wrong_settings_end_with_two_and_say_what_to_do() -> None:
    done = _driftline("cloud", "serve", "--set", "rounds.colour=1")
    assert done.returncode == 2
    assert "colour" in done.stderr
    assert "fix:" in done.stderr
    assert "Traceback" not in done.stderr


def _driftline(*words: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from driftline_shared.program.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.mark.parametrize("where", ["", "label", "distil", "score"])
def test_sigterm_ends_serving_and_working_in_any_state(
    start: Start, tmp_path: Path, bare: Pair, where: str
) -> None:
    """Idle, and with work under way that hears nothing."""
    state = tmp_path / "state"
    cloud = start(*([f"hang:{where}"] if where else []))
    address = _address(cloud, state)
    if where:
        _send(address, bare, range(40))
        deadline_s = time.monotonic() + TIMEOUT_S
        while not (state / "hangs").exists():
            assert time.monotonic() < deadline_s, "the work did not begin"
            time.sleep(0.05)
    (worker,) = _children(cloud.pid)
    cloud.send_signal(signal.SIGTERM)
    assert cloud.wait(30.0) == 0  # drain_s is 5 s here
    assert not Path(f"/proc/{worker}").exists() or _is_zombie(worker)


def _children(pid: int) -> list[int]:
    deadline_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline_s:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            found += task.read_text().split()
        if found:
            return sorted({int(one) for one in found})
        time.sleep(0.05)
    raise AssertionError("nobody works beside it")


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
