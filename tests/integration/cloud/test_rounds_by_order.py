"""`StartRound` and `driftline cloud round start`: real gRPC on loopback, triggers off."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable

import grpc
import pytest
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from driftline_cloud.cli import app
from driftline_cloud.intake.devices import DeviceRegister
from driftline_cloud.rounds.opening import RoundOpening
from driftline_proto.v1 import uplink_pb2
from driftline_shared import wire
from driftline_shared.errors import LinkError, Reason
from driftline_shared.rpc.rounds import start_round
from tests.fakes.cloud import make_sample

from .conftest import RunningCloud

pytestmark = pytest.mark.integration


@pytest.fixture
def cloud(start_cloud: Callable[..., RunningCloud]) -> RunningCloud:
    """Far fewer samples would start a round here, but for the switch."""
    by_order = {"rounds.trigger.enabled": False, "rounds.trigger.round_samples": 2}
    return start_cloud(**by_order, **{"dwc.max_fp16_share": 0.5, "rounds.poll_s": 0.05})


def _send(cloud: RunningCloud, numbers: range) -> None:
    space = cloud.pair.token_space
    messages = [wire.to_sample(make_sample(n, space)) for n in numbers]
    cloud.enrol()
    cloud.push(uplink_pb2.SampleBatch(device_id="d1", token_space=space.digest, samples=messages))


def _round_start(cloud: RunningCloud, *flags: str) -> tuple[int, str]:
    words = ["round", "start", "--state", str(cloud.config.state), *flags]
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.stdout


def test_without_triggers_only_an_order_starts_a_round(cloud: RunningCloud) -> None:
    _send(cloud, range(40))
    assert not cloud.line().num_rounds
    code, text = _round_start(cloud, "--line", cloud.line().line, "--wait", "--json")
    assert code == 0, text
    # The cloud of this very process logs beside it.
    round_ = json.loads(text[text.index("{\n") : text.rindex("}") + 1])
    assert (round_["state"], round_["num_samples"]) == ("done", 40)
    assert cloud.line().newest_version == round_["target_version"] == 1
    assert cloud.line().num_rounds == 1


@pytest.mark.parametrize("num_samples", [0, 1])
def test_a_round_needs_two_samples(cloud: RunningCloud, num_samples: int) -> None:
    _send(cloud, range(num_samples))
    with pytest.raises(LinkError, match="takes at least 2") as caught:
        start_round(f"127.0.0.1:{cloud.port}")
    assert caught.value.reason is Reason.TOO_FEW_SAMPLES
    assert cloud.line().num_waiting == num_samples


def test_a_line_that_is_not_here_is_named(cloud: RunningCloud) -> None:
    _send(cloud, range(2))
    with pytest.raises(LinkError, match=r"no line 'another' here, only bare-") as caught:
        start_round(f"127.0.0.1:{cloud.port}", "another")
    assert caught.value.reason is Reason.LINE_UNKNOWN


def test_a_second_order_finds_the_round_open(cloud: RunningCloud) -> None:
    _send(cloud, range(40))
    go_on = threading.Event()
    cloud.workers.hook = lambda where: where == "label" and go_on.wait(10.0)
    try:
        opened = start_round(f"127.0.0.1:{cloud.port}")
        assert (opened.num_samples, opened.reason) == (40, "operator")
        _send(cloud, range(40, 60))
        with pytest.raises(LinkError, match=f"round {opened.round_id} is open") as caught:
            start_round(f"127.0.0.1:{cloud.port}")
    finally:
        go_on.set()
    assert caught.value.reason is Reason.ROUND_OPEN
    assert "Wait until it has ended" in caught.value.fix
    assert "Wait until it has ended" not in str(caught.value), "it is shown as the fix"
    assert (cloud.line().num_rounds, cloud.line().num_waiting) == (1, 20)


def test_an_operator_is_told_what_is_full_and_a_device_is_not(
    cloud: RunningCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr(RoundOpening, "by_order", full)
    with pytest.raises(LinkError, match=r"no space left on .*cloud\.sqlite\. Free space") as caught:
        start_round(f"127.0.0.1:{cloud.port}")
    assert caught.value.reason is Reason.STORE_BUSY
    assert "given again" in caught.value.fix
    monkeypatch.setattr(DeviceRegister, "enrol", full)
    with pytest.raises(grpc.RpcError) as refused:
        cloud.enrol()
    assert "cloud.sqlite" not in refused.value.details()  # type: ignore[attr-defined]
