"""A schedule follows from its seed, knows every kind of fault, leaves out what cannot be done."""

from __future__ import annotations

import json
from itertools import pairwise

from driftline_lab.chaos.faults import CLOUD, KINDS, NEEDS_SHIM, schedule


def test_the_same_seed_does_the_same() -> None:
    first, again = (schedule(7, seconds=600, devices=3) for _ in range(2))
    assert first == again
    assert first != schedule(8, seconds=600, devices=3)
    assert [json.loads(json.dumps(one.row())) for one in first] == [one.row() for one in again]


def test_every_kind_comes_before_chance_alone_chooses() -> None:
    num_kinds = sum(map(len, KINDS.values()))
    found = schedule(0, seconds=600, devices=3)
    done = {("cloud" if one.target == CLOUD else "device", one.kind) for one in found[:num_kinds]}
    assert done == {(whose, kind) for whose, kinds in KINDS.items() for kind in kinds}
    assert {one.target for one in found} == {CLOUD, "device-0", "device-1", "device-2"}


def test_times_rise_and_end_with_the_run() -> None:
    found = schedule(3, seconds=60, devices=1)
    assert all(before.at_s < after.at_s for before, after in pairwise(found))
    assert found[-1].at_s < 60


def test_a_longer_run_begins_as_a_shorter_one() -> None:
    short = schedule(3, seconds=60, devices=2)
    assert schedule(3, seconds=600, devices=2)[: len(short)] == short


def test_without_a_compiler_the_rest_stays_the_same() -> None:
    whole = schedule(5, seconds=600, devices=2)
    assert schedule(5, seconds=600, devices=2, shim=False) == [
        one for one in whole if one.kind not in NEEDS_SHIM
    ]
