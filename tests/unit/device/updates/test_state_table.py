"""What a start makes of every state of an update, by what the disk holds; and what comes after it.

A device had version 1 in slot a and was taking version 2 into slot b. Rows of the tables are what
`update.json` said last; columns what slots and pointer hold, as kills, power cuts and bad blocks
leave them. Real files, real slots and journal, the real applier; only the model is a fake one.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from driftline_device.updates import phases, slots
from driftline_device.updates.applier import Applier
from driftline_device.updates.journal import Journal
from driftline_device.updates.phases import Phase, UpdateState
from driftline_device.updates.slots import Slots
from driftline_shared.errors import Reason
from driftline_shared.host import durable
from driftline_shared.host.clock import SystemClock
from driftline_shared.update import Adapter
from tests.fakes.runtime import BASE_MODEL, PAIR, SPACE, FakeRuntime, adapter, probe_set
from tests.fakes.updates import FakeUpdateLink, make_update

FIRST, SECOND = adapter(skill=1.0), adapter(skill=0.9)


@pytest.fixture(autouse=True)
def no_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _file: None)


# -- what update.json says -----------------------------------------------------------------------

RESTING = UpdateState(phase=Phase.ACTIVE, version=1, target=1)
UNDER_WAY = phases.begin(RESTING, 2)
VERIFIED = phases.verify(UNDER_WAY)
STAGED = phases.stage(VERIFIED)
PROBING = phases.probe(STAGED)
STATES: dict[str, UpdateState | None] = {
    "resting": RESTING,
    "fetching": UNDER_WAY,
    "verified": VERIFIED,
    "staged": STAGED,
    "probing": PROBING,
    "active": replace(phases.activate(PROBING), reports=()),
    "trusted": replace(phases.trust(phases.activate(PROBING)), reports=()),
    "failed": replace(phases.fail(PROBING, Reason.PROBE_ERROR, ""), reports=()),
    "rolled back": replace(
        phases.roll_back(phases.activate(PROBING), 1, Reason.WATCH_ERRORS), reports=()
    ),
    "missing": None,
    "broken": None,
}

# -- what slots and pointer hold -----------------------------------------------------------------


def _spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _both(slots: Slots) -> None:
    slots.write_spare(SECOND, version=2, base_model=BASE_MODEL)


def _pointed(slots: Slots) -> None:
    _both(slots)
    slots.activate("b", 2)


Make = Callable[[Slots, Path], None]


def _torn(slots: Slots, folder: Path) -> None:
    _both(slots)
    _spoil(folder / "b" / "adapter.safetensors")


def _unnamed(slots: Slots, folder: Path) -> None:
    _both(slots)
    (folder / "b" / "slot.json").unlink()


def _new_broken(slots: Slots, folder: Path) -> None:
    _pointed(slots)
    _spoil(folder / "b" / "adapter.safetensors")


def _all_broken(slots: Slots, folder: Path) -> None:
    _new_broken(slots, folder)
    _spoil(folder / "a" / "slot.json")


def _old_broken(slots: Slots, folder: Path) -> None:
    _spoil(folder / "a" / "adapter.safetensors")


def _no_pointer(slots: Slots, folder: Path) -> None:
    _both(slots)
    (folder / "current.json").unlink()


def _bad_pointer(slots: Slots, folder: Path) -> None:
    _both(slots)
    _spoil(folder / "current.json")


DISKS: dict[str, Make] = {
    "old": lambda _slots, _folder: None,
    "spare": lambda slots, _folder: _both(slots),
    "torn": _torn,
    "unnamed": _unnamed,
    "new": lambda slots, _folder: _pointed(slots),
    "new broken": _new_broken,
    "all broken": _all_broken,
    "old broken": _old_broken,
    "no pointer": _no_pointer,
    "bad pointer": _bad_pointer,
}


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Each disk, made once."""
    top = tmp_path_factory.mktemp("disks")
    for name, make in DISKS.items():
        made = Slots(top / name / "slots")
        made.write_spare(FIRST, version=1, base_model=BASE_MODEL)
        made.activate("a", 1)
        make(made, top / name / "slots")
    yield top


def _device(
    disks: Path, folder: Path, state: str, disk: str, failed: tuple[int, ...] = ()
) -> Applier:
    """The device after a start on such a disk."""
    shutil.copytree(disks / disk, folder)
    journal = Journal(folder, base_model=BASE_MODEL)
    for version in failed:
        journal.remember(version, Reason.WATCH_ERRORS)
    said = STATES[state]
    if said is not None:
        journal.save(said)
    elif state == "broken":
        (folder / "update.json").write_text('{"phase": "act')
    applier = Applier(
        state_dir=folder, runtime=FakeRuntime(), pair_name=PAIR, token_space=SPACE,
        probe_set=probe_set(), clock=SystemClock(),
    )  # fmt: skip
    applier.recover()
    return applier


def _shown(applier: Applier) -> str:
    runtime = applier._runtime
    assert runtime.version == applier.state.version, "what runs is what the state says"
    failed = "".join(f" !{version}" for version in applier.failed_versions)
    return f"{runtime.version} {applier.state.phase.replace('_', ' ')}{failed}"


def _cases(table: str) -> list[tuple[str, str, str]]:
    """(row, column, cell) of a table of text."""
    header, *rows = [line for line in table.strip().splitlines() if line.strip()]
    names = [cell.strip() for cell in header.split("|")][1:]
    found = []
    for row in rows:
        state, *cells = [cell.strip() for cell in row.split("|")]
        found += [(state, name, cell) for name, cell in zip(names, cells, strict=True)]
    return found


# -- a start -------------------------------------------------------------------------------------

STARTS = """
            | old         | spare       | torn        | unnamed     | new      | new broken  | all broken    | old broken    | no pointer    | bad pointer
resting     | 1 active    | 1 active    | 1 active    | 1 active    | 2 active | 1 active    | 0 rolled back | 0 rolled back | 0 rolled back | 0 rolled back
fetching    | 1 idle      | 1 idle      | 1 idle      | 1 idle      | 2 active | 1 idle      | 0 rolled back | 0 rolled back | 0 rolled back | 0 rolled back
verified    | 1 idle      | 1 idle      | 1 idle      | 1 idle      | 2 active | 1 idle      | 0 rolled back | 0 rolled back | 0 rolled back | 0 rolled back
staged      | 1 idle      | 1 idle      | 1 idle      | 1 idle      | 2 active | 1 idle      | 0 rolled back | 0 rolled back | 0 rolled back | 0 rolled back
probing     | 1 failed !2 | 1 failed !2 | 1 failed !2 | 1 failed !2 | 2 active | 1 failed !2 | 0 failed !2   | 0 failed !2   | 0 failed !2   | 0 failed !2
active      | 1 rolled back | 1 rolled back | 1 rolled back | 1 rolled back | 2 active | 1 rolled back | 0 rolled back | 0 rolled back | 0 rolled back | 0 rolled back
trusted     | 1 rolled back | 1 rolled back | 1 rolled back | 1 rolled back | 2 active | 1 rolled back | 0 rolled back | 0 rolled back | 0 rolled back | 0 rolled back
failed      | 1 failed    | 1 failed    | 1 failed    | 1 failed    | 2 active | 1 failed    | 0 rolled back | 0 rolled back | 0 rolled back | 0 rolled back
rolled back | 1 rolled back | 1 rolled back | 1 rolled back | 1 rolled back | 2 active | 1 rolled back | 0 rolled back | 0 rolled back | 0 rolled back | 0 rolled back
missing     | 1 active    | 1 active    | 1 active    | 1 active    | 2 active | 1 active    | 0 idle        | 0 idle        | 0 idle        | 0 idle
broken      | 1 active    | 1 active    | 1 active    | 1 active    | 2 active | 1 active    | 0 idle        | 0 idle        | 0 idle        | 0 idle
"""  # noqa: E501
"""Version in force, phase, and `!N`: versions that are never tried again."""


@pytest.mark.parametrize(("state", "disk", "expected"), _cases(STARTS))
def test_a_start(disks: Path, tmp_path: Path, state: str, disk: str, expected: str) -> None:
    assert _shown(_device(disks, tmp_path / "state", state, disk)) == expected


@pytest.mark.parametrize(("state", "disk", "expected"), _cases(STARTS))
def test_a_start_where_the_new_version_had_failed(
    disks: Path, tmp_path: Path, state: str, disk: str, expected: str
) -> None:
    """The pointer may name it still: it is left, whatever else was written down."""
    if disk == "new":
        expected = "1 rolled back"
    found = _shown(_device(disks, tmp_path / "state", state, disk, failed=(2,)))
    assert found == expected.removesuffix(" !2") + " !2"


# -- what comes after it -------------------------------------------------------------------------

HELD = {0: None, 1: FIRST, 2: SECOND, 3: adapter(skill=0.8)}
THIRD = adapter(skill=0.8)


def _offer(version: int, target: Adapter, applier: Applier) -> FakeUpdateLink:
    held = applier.state.version
    return FakeUpdateLink(make_update(target, version, base=HELD[held], base_version=held))


def _after(event: str, applier: Applier) -> tuple[int, set[int]]:
    """Version and failures that must follow."""
    held, failed = applier.state.version, set(applier.failed_versions)
    if event == "a newer version":
        return 3, failed
    if event == "one that fails its probe":
        return held, failed | {3}
    if event == "the same again":
        return (held if 2 in failed else 2), failed
    return max(0, held - 1), failed | ({held} if held else set())


def _do(event: str, applier: Applier) -> None:
    if event == "an operator rolls back":
        applier.request_rollback(applier.state.version)
        applier.act()
        return
    version, target = {
        "a newer version": (3, THIRD),
        "one that fails its probe": (3, adapter(crash=1.0)),
        "the same again": (2, SECOND),
    }[event]
    applier.poll(_offer(version, target, applier))


EVENTS = (
    "a newer version", "one that fails its probe", "the same again", "an operator rolls back",
)  # fmt: skip


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("disk", ["old", "torn", "new", "no pointer"])
@pytest.mark.parametrize("state", STATES)
def test_an_event_after_it(disks: Path, tmp_path: Path, state: str, disk: str, event: str) -> None:
    applier = _device(disks, tmp_path / "state", state, disk)
    version, failed = _after(event, applier)
    _do(event, applier)
    assert (applier._runtime.version, set(applier.failed_versions)) == (version, failed)
    again = _device_again(tmp_path / "state")
    assert (again._runtime.version, set(again.failed_versions)) == (version, failed)


def _device_again(folder: Path) -> Applier:
    applier = Applier(
        state_dir=folder, runtime=FakeRuntime(), pair_name=PAIR, token_space=SPACE,
        probe_set=probe_set(), clock=SystemClock(),
    )  # fmt: skip
    applier.recover()
    return applier


class KilledError(BaseException):
    """The process ends here."""


NUM_WRITES = 8
"""What an update writes: six phases of update.json, adapter, record, pointer; the last two of them
are those after the pointer, which `test_a_start` knows.
"""


@pytest.mark.parametrize("write", range(1, NUM_WRITES + 1))
@pytest.mark.parametrize("how", ["killed", "full"])
@pytest.mark.parametrize("disk", ["old", "new"])
@pytest.mark.parametrize("state", ["resting", "probing", "active", "failed", "broken"])
def test_an_update_that_is_cut_at_each_write_comes_later(
    disks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    disk: str,
    how: str,
    write: int,
) -> None:
    applier = _device(disks, tmp_path / "state", state, disk)
    held = applier.state.version
    left = [write]
    real = durable.write_atomic

    def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
        left[0] -= 1
        if left[0] == 0 and how == "killed":
            raise KilledError
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, data, durable=durable)

    with monkeypatch.context() as broken:
        broken.setattr(durable, "write_atomic", write_atomic)
        broken.setattr(slots, "write_atomic", write_atomic)
        with suppress(KilledError, OSError):
            applier.poll(_offer(3, THIRD, applier))
    if how == "full":
        assert applier._runtime.version in (held, 3)
        applier.act()
    else:
        applier = _device_again(tmp_path / "state")
    assert applier._runtime.version in (held, 3)
    failed = applier.failed_versions
    applier.poll(_offer(4, adapter(skill=0.7), applier))
    assert applier._runtime.version == 4
    assert _device_again(tmp_path / "state")._runtime.version == 4
    # Killed while it was probed, a version is not tried again; a full disk speaks against none.
    assert 3 not in failed or how == "killed"
