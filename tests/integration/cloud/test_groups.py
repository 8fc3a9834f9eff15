"""Two drifts in one line end on adapters of their own, one drift does not: gRPC, processes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_cloud.cli import app
from driftline_proto.v1 import uplink_pb2
from driftline_shared import wire
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.rpc.status import fetch_status
from driftline_shared.status import LineStatus, UpdateOutcome, UpdateQuery, UpdateReport
from driftline_shared.update import Manifest
from tests.fakes.cloud import make_bare_pair
from tests.fakes.drifting import drifted_sample
from tests.fakes.waiting import until

from .conftest import TIMEOUT_S, RunningCloud

pytestmark = pytest.mark.integration

WORK = (sys.executable, "-m", "tests.integration.cloud.work_main", "drifting")
EACH = 10
LONG_S = 4 * TIMEOUT_S
"""For a round with a process that is killed, and one of another line after it."""

NIGHT = [f"night-{number}" for number in range(5)]
SKETCH = [f"sketch-{number}" for number in range(4)]


def started(
    start_cloud: Callable[..., RunningCloud], folder: Path, *points: str
) -> tuple[RunningCloud, Pair]:
    pair = load_pair(make_bare_pair(folder / "one", "one"))
    overrides = {
        "rounds.trigger.round_samples": 9 * EACH,
        "rounds.poll_s": 0.05,
        "dwc.max_fp16_share": 0.5,
        "work.restart_s": 0.05,
        "rollout.shares": (1.0,),
        "grouping.enabled": True,
    }
    return start_cloud(work=(*WORK, *points), pair=pair, **overrides), pair


def send(cloud: RunningCloud, pair: Pair, devices: list[str], first: int = 0) -> None:
    """Fresh samples of every device, in the drift that it is named by; the devices are enrolled."""
    for number, device in enumerate(devices):
        cloud.enrol(device)
        drift = device.partition("-")[0]
        rows = range(first + number * EACH, first + (number + 1) * EACH)
        batch = uplink_pb2.SampleBatch(
            device_id=device,
            token_space=pair.token_space.digest,
            samples=[wire.to_sample(drifted_sample(row, pair.token_space, drift)) for row in rows],
        )
        assert {str(ack.verdict) for ack in cloud.push(batch)} == {"stored"}


def lines(cloud: RunningCloud) -> dict[str, LineStatus]:
    found = fetch_status(f"127.0.0.1:{cloud.port}", timeout_s=TIMEOUT_S).lines
    return {line.line: line for line in found if line.state != "dropped"}


def offer(cloud: RunningCloud, device: str, held: int) -> Manifest | None:
    query = UpdateQuery(device_id=device, base_model=cloud.pair.base_model, adapter_version=held)
    reply = cloud.downlink.Check(wire.to_update_query(query), timeout=TIMEOUT_S)
    return wire.from_manifest(reply.manifest) if reply.HasField("manifest") else None


def order(cloud: RunningCloud, *words: str) -> dict[str, object]:
    """What `driftline cloud group` prints."""
    state = str(cloud.config.state)
    done = CliRunner().invoke(app, ["group", *words, "--state", state, "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    text = done.stdout[done.stdout.index("{\n") :]  # the cloud of this process logs beside it
    found: dict[str, object] = json.JSONDecoder().raw_decode(text)[0]
    return found


def test_two_drifts_in_one_line_split_and_are_merged_again(
    start_cloud: Callable[..., RunningCloud], tmp_path: Path
) -> None:
    point = "work:started:grouping"  # there the working process is killed, once
    cloud, pair = started(start_cloud, tmp_path, point)
    send(cloud, pair, NIGHT + SKETCH)

    def have_versions(least: int) -> bool:
        found = lines(cloud)
        return len(found) == 2 and all(line.newest_version >= least for line in found.values())

    until(lambda: have_versions(1), LONG_S)
    assert (cloud.config.state / f"killed-{point}").exists()
    line, group = sorted(lines(cloud))
    assert group == f"{line}.g2"
    assert [one.num_devices for one in (lines(cloud)[line], lines(cloud)[group])] == [5, 4]
    targets = {
        device: (found.target_version, found.target_digest)
        for device in NIGHT + SKETCH
        if (found := offer(cloud, device, 0)) is not None
    }
    assert len(targets) == 9 and {version for version, _ in targets.values()} == {1}
    assert len({targets[device] for device in NIGHT}) == 1
    assert len({targets[device] for device in SKETCH}) == 1
    assert targets[NIGHT[0]] != targets[SKETCH[0]]
    listed = order(cloud, "list")
    assert [row["group"] for row in listed["lines"]] == ["", "g2"]  # type: ignore[index, attr-defined]
    assert {row["action"] for row in listed["decisions"]} == {"split"}  # type: ignore[index, attr-defined]

    # Merged again: the line gets a number above what the group's devices hold, and what does not
    # fit what they hold comes whole.
    done = order(cloud, "merge", "one/g2", "--why", "one camera for all")
    assert (done["line"], done["num_devices"]) == (line, 9)
    until(
        lambda: list(lines(cloud)) == [line] and lines(cloud)[line].newest_version == 2, TIMEOUT_S
    )
    again = offer(cloud, SKETCH[0], 1)
    assert again is not None and again.target_version == 2
    assert again.base_digest != targets[SKETCH[0]][1], "the device will say so"
    refusal = UpdateReport(
        version=2, outcome=UpdateOutcome.REFUSED, reason="base_mismatch", detail=""
    )
    cloud.downlink.Report(wire.to_report(SKETCH[0], refusal), timeout=TIMEOUT_S)
    whole = offer(cloud, SKETCH[0], 1)
    assert whole is not None and (str(whole.kind), whole.target_version) == ("full", 2)
    assert whole.target_digest == targets[NIGHT[0]][1]


def test_one_drift_in_one_line_stays_one(
    start_cloud: Callable[..., RunningCloud], tmp_path: Path
) -> None:
    cloud, pair = started(start_cloud, tmp_path)
    send(cloud, pair, [f"night-{number}" for number in range(9)])
    until(lambda: all(line.newest_version == 1 for line in lines(cloud).values()), TIMEOUT_S)
    (line,) = lines(cloud).values()
    assert line.round is not None and line.round.numbers["groups.found"] == 1
    assert line.num_devices == 9
