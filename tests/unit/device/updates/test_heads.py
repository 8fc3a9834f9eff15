"""A P(IK) head goes with its adapter: applied, restarted, killed and rolled back, never mixed."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_device.updates.applier import Applier, UpdateSettings
from driftline_device.updates.heads import head_of
from driftline_device.updates.watch import WatchLimits
from driftline_shared.errors import Reason
from driftline_shared.p_ik.head import head_to_bytes
from tests.fakes.clock import FakeClock
from tests.fakes.runtime import PAIR, SPACE, FakeRuntime, adapter, base_adapter, ik_head, probe_set
from tests.fakes.updates import FakeUpdateLink, make_update, stages_followed

SETTINGS = UpdateSettings(watch=WatchLimits(num_answers=6, num_confirm=3))
ONE, TWO = adapter(skill=1.0), adapter(skill=0.9)


class KilledError(Exception):
    """The process ends here."""


def start(state_dir: Path) -> tuple[Applier, FakeRuntime]:
    """A device after its start; its pair's head is of version 0."""
    runtime = FakeRuntime(ik_head=ik_head(0))
    made = Applier(
        state_dir=state_dir,
        runtime=runtime,
        pair_name=PAIR,
        token_space=SPACE,
        probe_set=probe_set(),
        clock=FakeClock(),
        settings=SETTINGS,
    )
    made.recover()
    return made, runtime


def versions(runtime: FakeRuntime) -> tuple[int, int]:
    """Of the adapter and of the head that judges it."""
    assert runtime.ik_head is not None
    return runtime.version, runtime.ik_head.version


def with_head(version: int = 1) -> tuple:
    base, of = (base_adapter(), ONE) if version == 1 else (ONE, TWO)
    return make_update(
        of,
        version,
        base=base,
        base_version=version - 1,
        ik_head=head_to_bytes(ik_head(version)),
    )


def test_a_head_comes_with_its_version_and_stays_over_a_restart(tmp_path: Path) -> None:
    applier, runtime = start(tmp_path)
    assert versions(runtime) == (0, 0)
    applier.poll(FakeUpdateLink(with_head()))
    assert versions(runtime) == (1, 1)
    assert versions(start(tmp_path)[1]) == (1, 1)


def test_an_update_without_a_head_keeps_the_one_in_force(tmp_path: Path) -> None:
    applier, runtime = start(tmp_path)
    plain = make_update(TWO, 2, base=ONE, base_version=1)
    link = FakeUpdateLink(with_head())
    applier.poll(link)
    link.offers.append(plain)
    applier.poll(link)
    assert versions(runtime) == (2, 1)
    assert versions(start(tmp_path)[1]) == (2, 1)


def test_a_rollback_takes_the_head_back_with_the_adapter(tmp_path: Path) -> None:
    applier, runtime = start(tmp_path)
    link = FakeUpdateLink(with_head())
    applier.poll(link)
    link.offers.append(with_head(2))
    applier.poll(link)
    assert versions(runtime) == (2, 2)
    for left, expected in ((2, (1, 1)), (1, (0, 0))):
        applier.request_rollback(left)
        applier.act()
        assert versions(runtime) == expected
        assert versions(start(tmp_path)[1]) == expected


@pytest.mark.parametrize(
    "stage", ["fetching", "verified", "staged", "probing", "pointed", "active"]
)
def test_no_kill_mixes_versions(tmp_path: Path, stage: str) -> None:
    applier, _ = start(tmp_path)

    def follow(reached: str) -> None:
        if reached == stage:
            raise KilledError

    with stages_followed(follow), pytest.raises(KilledError):
        applier.poll(FakeUpdateLink(with_head()))
    again, restarted = start(tmp_path)
    assert versions(restarted) in {(0, 0), (1, 1)}
    again.poll(FakeUpdateLink(with_head()))
    assert versions(restarted) in {(0, 0), (1, 1)}


def test_a_slot_of_an_older_device_is_judged_by_the_pairs_head(tmp_path: Path) -> None:
    applier, _ = start(tmp_path)
    applier.poll(FakeUpdateLink(with_head()))
    record = tmp_path / "slots" / "a" / "slot.json"
    if not record.exists():
        record = tmp_path / "slots" / "b" / "slot.json"
    later = ('"ik_head"', '"crc32"')
    whole = record.read_text().splitlines()
    lines = [line for line in whole if not any(key in line for key in later)]
    assert len(lines) < len(record.read_text().splitlines())
    record.write_text("\n".join(lines).replace(",\n}", "\n}"))
    assert versions(start(tmp_path)[1]) == (1, 0)


def test_a_broken_head_breaks_its_slot(tmp_path: Path) -> None:
    applier, _ = start(tmp_path)
    applier.poll(FakeUpdateLink(with_head()))
    for name in ("a", "b"):
        record = tmp_path / "slots" / name / "slot.json"
        if record.exists():
            record.write_text(record.read_text().replace("50494b01", "50494b02"))
    again, restarted = start(tmp_path)
    assert versions(restarted) == (0, 0)
    assert again.state.version == 0


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"PIK\x02 of a cloud to come",
        head_to_bytes(ik_head(7)),
    ],
    ids=["none", "another format", "another version"],
)
def test_a_head_that_cannot_be_used_keeps_no_weights_away(tmp_path: Path, written: bytes) -> None:
    applier, runtime = start(tmp_path)
    link = FakeUpdateLink(make_update(ONE, 1, ik_head=written))
    applier.poll(link)
    assert versions(runtime) == (1, 0)
    assert link.reports[-1].reason is Reason.APPLIED
    manifest, _ = make_update(ONE, 1, ik_head=written)
    in_force = ik_head(0)
    assert head_of(manifest, in_force=in_force) is in_force
