"""Several lines in one cloud: real gRPC, a working process a line, an operator who changes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from driftline_cloud.cli import app
from driftline_proto.v1 import control_pb2, uplink_pb2
from driftline_shared import wire
from driftline_shared.errors import DataError, Reason
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.rpc.rounds import start_round
from driftline_shared.rpc.status import fetch_status
from driftline_shared.status import CloudStatus, LineStatus, UpdateQuery
from tests.fakes.cloud import make_bare_pair, make_sample
from tests.fakes.waiting import until

from .conftest import TIMEOUT_S, RunningCloud

pytestmark = pytest.mark.integration

NUM_DEVICES = 30
"""Of each pair."""

ROUND = 40
"""Samples of a round."""

WORK = (sys.executable, "-m", "tests.integration.cloud.work_main")


@dataclass(kw_only=True)
class Fleet:
    """Devices of several pairs at one cloud, and its operator."""

    cloud: RunningCloud
    pairs: list[Pair]
    num_sent: int = 0

    def is_in_state(self, pair: Pair, state: str) -> bool:
        """Whether the pair's line is shown so; one that was just added is not shown at all."""
        line = self.line(pair)
        return line is not None and line.state == state

    def line(self, pair: Pair) -> LineStatus | None:
        """The line of `pair`, if it is served."""
        return next((one for one in self.status().lines if one.pair == str(pair.dir)), None)

    def status(self) -> CloudStatus:
        return fetch_status(f"127.0.0.1:{self.cloud.port}", timeout_s=TIMEOUT_S)

    def enrol(self, pair: Pair, number: int) -> None:
        self.cloud.enrol(
            f"{pair.name}-{number}",
            pair=pair.name,
            token_space=pair.token_space.digest,
            base_model=pair.base_model,
        )

    def send(self, pair: Pair, number: int, num_samples: int) -> None:
        """Fresh samples of one device, all of them stored."""
        numbers = range(self.num_sent, self.num_sent + num_samples)
        self.num_sent += num_samples
        space = pair.token_space
        batch = uplink_pb2.SampleBatch(
            device_id=f"{pair.name}-{number}",
            token_space=space.digest,
            samples=[wire.to_sample(make_sample(one, space)) for one in numbers],
        )
        assert {str(ack.verdict) for ack in self.cloud.push(batch)} == {"stored"}

    def order(self, *words: str) -> dict[str, object]:
        """What `driftline cloud line` prints."""
        state = str(self.cloud.config.state)
        done = CliRunner().invoke(app, ["line", *words, "--state", state, "--json"])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        text = done.stdout[done.stdout.index("{\n") :]  # the cloud of this process logs beside it
        found: dict[str, object] = json.JSONDecoder().raw_decode(text)[0]
        return found

    def has_version(self, pair: Pair, version: int) -> bool:
        line = self.line(pair)
        return line is not None and line.newest_version >= version

    def offered(self, pair: Pair) -> int:
        """The version that a device of `pair` at version 0 is offered; 0: none."""
        query = UpdateQuery(
            device_id=f"{pair.name}-0", base_model=pair.base_model, adapter_version=0
        )
        reply = self.cloud.downlink.Check(wire.to_update_query(query), timeout=TIMEOUT_S)
        return int(reply.manifest.target_version)


def refused(call: Callable[[], object]) -> str:
    """The reason for which `call` fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return str(dict(caught.value.trailing_metadata())[wire.REASON_KEY])


def start_fleet(
    start_cloud: Callable[..., RunningCloud],
    folder: Path,
    *names: str,
    work: tuple[str, ...] = WORK,
) -> Fleet:
    pairs = [
        load_pair(make_bare_pair(folder / name, name, weight=float(number)))
        for number, name in enumerate(names, start=1)
    ]
    overrides = {
        "rounds.trigger.round_samples": ROUND,
        "rounds.device_share": 1.0,  # one device sends most of a round
        "rounds.poll_s": 0.05,
        "dwc.max_fp16_share": 0.5,
        "drain_s": 5.0,
        "work.restart_s": 0.05,
        "rollout.shares": (1.0,),  # versions are not what is tried here
    }
    return Fleet(cloud=start_cloud(work=work, pair=pairs[0], **overrides), pairs=pairs)


def test_lines_are_added_paused_and_dropped_while_their_devices_are_served(
    start_cloud: Callable[..., RunningCloud], tmp_path: Path
) -> None:
    point = "work:started:distilling"  # there one of the processes is killed, once
    fleet = start_fleet(start_cloud, tmp_path, "one", "two", "three", work=(*WORK, point))
    one, two, three = fleet.pairs
    fleet.enrol(one, 0)

    # An unknown base is refused, and the operator is told.
    assert refused(lambda: fleet.enrol(two, 0)) == Reason.TOKEN_SPACE_UNKNOWN
    (unknown,) = fleet.status().unknown_bases
    assert (unknown.pair, unknown.num_devices) == ("two", 1)
    assert unknown.base_model == two.base_model
    assert fleet.order("list")["unknown_bases"][0]["pair"] == "two"  # type: ignore[index]

    # Added while it runs.
    assert fleet.order("add", str(two.dir))["state"] == "active"
    fleet.order("add", str(three.dir))
    with pytest.raises(DataError, match="there already, active"):
        fleet.order("add", str(two.dir))
    until(lambda: len(fleet.status().lines) == 3, TIMEOUT_S)
    assert fleet.status().unknown_bases == ()
    for pair in fleet.pairs:
        for number in range(NUM_DEVICES):
            fleet.enrol(pair, number)
            fleet.send(pair, number, 1 if number else ROUND - NUM_DEVICES + 1)
    until(lambda: all(fleet.has_version(pair, 1) for pair in fleet.pairs), TIMEOUT_S)
    assert (fleet.cloud.config.state / f"killed-{point}").exists()
    assert [fleet.offered(pair) for pair in fleet.pairs] == [1, 1, 1]
    assert [line.num_devices for line in fleet.status().lines] == [NUM_DEVICES] * 3
    with pytest.raises(Exception, match="which line"):
        start_round(f"127.0.0.1:{fleet.cloud.port}")

    # Paused: samples are stored and updates served, no round; the others go on.
    fleet.order("pause", "two")
    until(lambda: fleet.is_in_state(two, "paused"), TIMEOUT_S)
    until(lambda: fleet.line(two).workers[0].state == "gone", TIMEOUT_S)  # type: ignore[union-attr]
    for pair in (one, two):
        fleet.send(pair, 0, ROUND)
    until(lambda: fleet.has_version(one, 2), TIMEOUT_S)
    line = fleet.line(two)
    assert line is not None and (line.num_waiting, line.num_rounds) == (ROUND, 1)
    assert fleet.offered(two) == 1
    with pytest.raises(Exception, match="is paused"):
        start_round(f"127.0.0.1:{fleet.cloud.port}", line.line)
    fleet.order("resume", "two")
    until(lambda: fleet.has_version(two, 2), TIMEOUT_S)

    # Dropped: devices are turned away, and told why when they enrol anew; nothing is lost.
    with pytest.raises(DataError, match=f"{NUM_DEVICES} devices are on it"):
        fleet.order("drop", "three")
    fleet.order("drop", "three", "--force")
    until(lambda: fleet.is_in_state(three, "dropped"), TIMEOUT_S)
    policy = control_pb2.PolicyRequest(device_id="three-0")
    assert refused(lambda: fleet.cloud.control.GetPolicy(policy)) == Reason.UNKNOWN_DEVICE
    assert refused(lambda: fleet.offered(three)) == Reason.UNKNOWN_DEVICE
    assert refused(lambda: fleet.send(three, 0, 1)) == Reason.UNKNOWN_DEVICE
    assert refused(lambda: fleet.enrol(three, 0)) == Reason.LINE_DROPPED
    assert fleet.status().unknown_bases == ()
    fleet.order("add", str(three.dir))
    until(lambda: fleet.is_in_state(three, "active"), TIMEOUT_S)
    fleet.enrol(three, 0)
    assert fleet.offered(three) == 1


def test_a_line_that_cannot_be_opened_holds_up_no_other_one(
    start_cloud: Callable[..., RunningCloud], tmp_path: Path
) -> None:
    idle = (sys.executable, "-c", "import sys; sys.stdin.read()")
    fleet = start_fleet(start_cloud, tmp_path, "one", "two", work=idle)
    one, two = fleet.pairs
    fleet.order("add", str(two.dir))
    until(lambda: len(fleet.status().lines) == 2, TIMEOUT_S)
    fleet.enrol(two, 0)
    fleet.cloud.stop_serving()
    two.dir.rename(tmp_path / "away")
    fleet = Fleet(cloud=start_cloud(work=idle, pair=one), pairs=fleet.pairs)
    assert refused(lambda: fleet.offered(two)) == Reason.STORE_BUSY
    fleet.enrol(one, 0)
    fleet.send(one, 0, 2)
