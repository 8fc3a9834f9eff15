"""What is lost, doubled, miscounted or another's is told; what is well is not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from driftline_lab.chaos.disk.control import Control
from driftline_lab.chaos.invariants import Held, num_lost_in_memory, samples_hold
from driftline_lab.chaos.programs.process import Program
from driftline_lab.chaos.proxy import Proxy
from driftline_lab.chaos.stage import Device
from driftline_lab.chaos.witness import Witness
from driftline_shared.host.durable import write_json

HELD = Held(
    samples={"aa": ("used", "me"), "bb": ("waiting", "me"), "cc": ("used", "other")},
    num_rows=3,
    counted=3,
    versions={},
    taught=Counter({"aa": 1, "cc": 1}),
    rounds=Counter(),
    open_rounds=0,
)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    state = tmp_path / "state"
    write_json(state / "status.json", {"spool": {"num_evicted": 0, "num_refused": 0}})
    (state / "device_id").write_text("me\n")
    witness = Witness(path=tmp_path / "witness")
    witness.path.write_text("b 1.0\na 0 red\ns aa\ns bb\nm dd\na 1 red\ns c")  # cut off
    witness.read()
    Control(tmp_path / "control")
    program = Program("it", [], extra={}, log=tmp_path / "log", control=tmp_path / "control")
    return Device(name="it", state=state, program=program, proxy=Proxy(1, 0), witness=witness)


def test_a_witness_is_read_up_to_the_last_whole_line(device: Device) -> None:
    witness = device.witness
    assert (witness.on_disk, witness.in_memory) == (["aa", "bb"], ["dd"])
    assert (witness.answers, witness.num_starts) == (Counter({0: 1, 1: 1}), 1)
    with witness.path.open("a") as file:
        file.write("c\n")
    witness.read()
    assert witness.on_disk[-1] == "cc"


def test_all_is_well(device: Device) -> None:
    assert samples_hold(HELD, [device]) == []
    assert num_lost_in_memory(HELD, [device]) == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"samples": {"aa": ("used", "me"), "cc": ("used", "other")}, "num_rows": 2, "counted": 2},
         "it lost 1 samples: bb"),
        ({"num_rows": 4, "counted": 4}, "1 samples are in the cloud twice"),
        ({"counted": 5}, "the cloud counts 5 samples and has 3"),
        ({"taught": Counter({"aa": 2})}, "1 samples were learnt from twice: aa"),
        ({"samples": {**HELD.samples, "bb": ("used", "other")}},
         "1 samples of it are another's: bb"),
    ],
)  # fmt: skip
def test_what_is_not_is_told(device: Device, changes: dict[str, object], told: str) -> None:
    assert samples_hold(replace(HELD, **changes), [device]) == [told]  # type: ignore[arg-type]


def test_what_a_device_dropped_or_set_aside_is_told(device: Device) -> None:
    write_json(device.state / "status.json", {"spool": {"num_evicted": 2, "num_refused": 1}})
    (device.state / "update.json.broken").touch()
    (device.state / "sampling.json.broken").touch()  # written without a wait for the disk
    assert samples_hold(HELD, [device]) == [
        "it: num_evicted is 2",
        "it: num_refused is 1",
        "it set files aside as broken: update.json.broken",
    ]
