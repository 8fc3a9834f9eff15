"""The whole loop as a user starts it: two commands, real gRPC, a round, an update, a swap.

On random pairs, so numbers mean nothing and the gate is set to let everything pass:
the path is what is tested.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from driftline_device.updates.slots import Slots
from driftline_lab.data.streams import Segment, write_stream
from driftline_lab.demo.processes import program, wait_for_file
from driftline_shared.models.export.pair_export import export_pair
from driftline_shared.pair.pair import load_pair
from driftline_shared.rpc.status import fetch_status
from driftline_shared.update import adapter_digest
from tests.fakes.families import noise
from tests.fakes.family_pair import make_family_pair
from tests.fakes.waiting import until

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

OPEN_GATE = """
[rounds.trigger]
round_samples = 24
[gate]
sure_of_gain = 0.0
sure_of_harm = 1.0
sure_of_source_harm = 1.0
max_step_ratio = 100.0
[distil]
min_steps = 6
max_steps = 6
confidence_floor = 0.0
threads = 1
[sampling]
gate_quantile = 0.0
max_sample_share = 0.5
token_share = 0.5
"""

LENIENT_PROBE = """
[probe]
latency_ratio = 1000.0
agreement_tolerance = 1.0
"""


def test_a_device_of_clips_is_killed_and_gets_an_update_from_its_cloud(tmp_path: Path) -> None:
    """An export reads clips of a folder's pictures, sliding; it is killed while samples leave."""
    made = load_pair(make_family_pair(tmp_path / "pair", "llava_onevision_video"))
    export_pair(made, tmp_path / "export", report=lambda _: None)
    (tmp_path / "yard").mkdir()
    for number in range(62):
        Image.fromarray(noise(24, 24, seed=number)).save(tmp_path / "yard" / f"{number:02}.png")
    cloud_file, device_file = tmp_path / "cloud.toml", tmp_path / "device.toml"
    cloud_file.write_text(
        f'state = "{tmp_path / "cloud"}"\nlisten = "127.0.0.1:0"\npair = "{made.dir}"\n{OPEN_GATE}'
    )
    state, events = tmp_path / "device", tmp_path / "events"
    told = (
        f'state = "{state}"\npair = "{tmp_path / "export"}"\nevents = "{events}"\n'
        'question = "what moves?"\nruntime = "onnx"\nseed = 1\npoll_s = 0.2\n'
        "[clip]\nevery_s = 1.0\n[frames]\nevery_s = 1.0\n"
        f"{LENIENT_PROBE}"
    )
    run = ["device", "run", "--config", str(device_file), "--source", str(tmp_path / "yard")]
    with program("cloud", ["cloud", "serve", "--config", str(cloud_file)], tmp_path / "l") as cloud:
        address = f"127.0.0.1:{wait_for_file(tmp_path / 'cloud' / 'port', cloud, 120.0)}"
        device_file.write_text(f'cloud = "{address}"\n{told}')
        with program("device", run, tmp_path / "first.log") as device:
            until(lambda: len(_sent(events)) >= 4 or device.process.poll() is not None, 120.0)
            device.process.kill()
            device.process.wait(60)
        before = _sent(events)
        with program("device", [*run, "--hold"], tmp_path / "second.log") as device:
            until(lambda: _version(state) >= 1 or device.process.poll() is not None, 200.0)
            device.process.terminate()
            assert device.process.wait(60) == 0, device.tail(40) + cloud.tail(40)
        line = fetch_status(address, timeout_s=10.0).lines[0]
    assert before and line.num_samples >= len(_sent(events)) > len(before), device.tail(40)
    assert line.newest_version >= _version(state) >= 1, device.tail(40)


def _version(state: Path) -> int:
    """In force, by the status of a daemon."""
    status = state / "status.json"
    return int(json.loads(status.read_text())["version"]) if status.exists() else -1


def _sent(events: Path) -> list[str]:
    """Ids of samples that answers went into the spool as."""
    lines = events.read_text().splitlines() if events.exists() else []
    return [row["sample"] for row in map(json.loads, lines) if row["sample"]]


@pytest.mark.parametrize("teacher_tower", [0, 1], ids=["one tower", "two towers"])
def test_a_device_that_drifts_gets_an_update_from_its_cloud(
    tmp_path: Path, teacher_tower: int
) -> None:
    made = make_family_pair(tmp_path / "pair", "llava", teacher_tower=teacher_tower)
    pair = load_pair(made)
    write_stream(tmp_path / "data", [Segment(domain="night", num_questions=60)], num_test=4)
    cloud_file, device_file = tmp_path / "cloud.toml", tmp_path / "device.toml"
    cloud_file.write_text(
        f'state = "{tmp_path / "cloud"}"\nlisten = "127.0.0.1:0"\npair = "{pair.dir}"\n{OPEN_GATE}'
    )
    serve = ["cloud", "serve", "--config", str(cloud_file)]
    with program("cloud", serve, tmp_path / "cloud.log") as cloud:
        address = f"127.0.0.1:{wait_for_file(tmp_path / 'cloud' / 'port', cloud, 120.0)}"
        device_file.write_text(
            f'state = "{tmp_path / "device"}"\npair = "{pair.dir}"\ncloud = "{address}"\n'
            f"seed = 1\npoll_s = 0.2\nsettle_s = 90.0\nsettle_every = 50\n{LENIENT_PROBE}"
        )
        run = ["device", "run", "--config", str(device_file)]
        run += ["--source", str(tmp_path / "data" / "stream.jsonl")]
        with program("device", run, tmp_path / "device.log") as device:
            assert device.process.wait(240) == 0, device.tail(40)
        found = fetch_status(address, timeout_s=10.0)

    status = json.loads((tmp_path / "device" / "status.json").read_text())
    line = found.lines[0]
    assert status["num_answered"] == 60
    assert line.num_samples == status["num_sent"] == status["link"]["num_acked"] > 0
    assert line.newest_version >= 1, cloud.tail(40)
    assert status["version"] == line.newest_version, device.tail(40)
    assert status["num_updates"] >= 1 and status["failed_versions"] == []
    held = Slots(tmp_path / "device" / "slots").recover(base_model=pair.base_model)
    assert held is not None and held.version == line.newest_version
    assert adapter_digest(held.adapter).hex() in _digests(tmp_path / "cloud")


def _digests(state: Path) -> str:
    """Every manifest the cloud has released, as one text."""
    return "\n".join(path.read_text() for path in (state / "releases").rglob("*.json"))
