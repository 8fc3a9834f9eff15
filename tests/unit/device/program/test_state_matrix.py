"""Each file of the state folder, broken in each way: the device starts and answers, doctor names it
before, and the broken file is not lost.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pytest

from driftline_device.config import DeviceConfig, load_config
from driftline_device.daemon.daemon import Daemon
from driftline_device.daemon.spending import Spending
from driftline_device.daemon.state_files import StateFiles
from driftline_device.doctor.files import FILES, check_files
from driftline_device.doctor.state import check_spool, check_versions
from driftline_device.link.settings import LinkStats
from driftline_device.program.assembly import open_daemon
from driftline_device.runtime.runtime import Question
from driftline_device.sampling.budget_ledger import Ledger
from driftline_device.sampling.budget_text import ByteBudget
from driftline_device.updates.applier import Applier
from driftline_shared.errors import ConfigError
from driftline_shared.host.clock import SystemClock
from driftline_shared.host.loopback import free_port
from driftline_shared.pair.pair import load_pair
from driftline_shared.program.checks import Check
from driftline_shared.tokens import SamplingPolicy
from tests.fakes.runtime import PAIR, SPACE, FakeRuntime, adapter, picture, probe_set, write_pair
from tests.fakes.updates import FakeUpdateLink, make_update

KINDS = ("bit flip", "truncated", "zero bytes", "folder", "pipe", "unreadable")
SETTINGS: dict[str, object] = {
    "status_s": 0.05,
    "seed": 1,
    "sampling.gate_quantile": 0.0,
    "sampling.max_sample_share": 1.0,
    "sampling.token_scorer": "magnitude",
}


@pytest.fixture(scope="module")
def pair_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair(tmp_path_factory.mktemp("matrix") / "pair")


@contextmanager
def device(state: Path, pair_dir: Path, **changes: object) -> Iterator[Daemon]:
    with open_daemon(config(state, **changes), load_pair(pair_dir), FakeRuntime()) as daemon:
        daemon.start()
        yield daemon
        daemon.stop(0.0)


def config(state: Path, **changes: object) -> DeviceConfig:
    return load_config(None, {"state": str(state), **SETTINGS, **changes}, {})


ESCALATING: dict[str, object] = {"cloud": f"127.0.0.1:{free_port()}", "escalate": "uncertain"}
"""What reads escalation.sqlite; nobody listens there."""


def ask(daemon: Daemon, number: int = 1) -> str:
    image = picture(number, hard=True, noise=number)
    return daemon.ask(Question(image=image, text="what?", place="here")).text


@pytest.fixture(scope="module")
def used(pair_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder in which there is every file: two versions, one that failed, samples."""
    state = tmp_path_factory.mktemp("matrix") / "state"
    applier = Applier(
        state_dir=state, runtime=FakeRuntime(), pair_name=PAIR, token_space=SPACE,
        probe_set=probe_set(), clock=SystemClock(),
    )  # fmt: skip
    first, second = adapter(skill=1.0), adapter(skill=0.9)
    applier.poll(FakeUpdateLink(make_update(first, 1)))
    applier.poll(FakeUpdateLink(make_update(second, 2, base=first, base_version=1)))
    applier.poll(FakeUpdateLink(make_update(adapter(crash=1.0), 3, base=second, base_version=2)))
    with device(state, pair_dir) as daemon:
        daemon.adopt_policy(SamplingPolicy(revision=7, **_policy()))
        for number in range(4):
            ask(daemon, number)
        assert daemon.snapshot().spool["num_samples"] > 0
    with device(state, pair_dir, **ESCALATING) as daemon:
        ask(daemon, 5)
    files = StateFiles(state)
    files.pause(1.0)
    files.request_rollback(1)
    files.let_go_on(3)
    (state / "link").mkdir(exist_ok=True)
    (state / "link" / "reports.jsonl").write_text("{}\n")
    spending = Spending(state)
    spending.count(_stats(), now_s=1_700_000_000.0)
    spending.keep(now_s=1_700_000_000.0, at_once=True)
    ledger = Ledger(ByteBudget(num_bytes=10_000, period_s=3_600.0), state, SystemClock())
    ledger.keep(at_once=True)
    missing = [name for name in FILES if not (state / name).exists()]
    assert not missing, "the matrix is of every file"
    return state


def _stats() -> LinkStats:
    numbers = dict.fromkeys((field.name for field in fields(LinkStats)), 0)
    return LinkStats(**{**numbers, "last_error": "", "bytes_up": 9})  # type: ignore[arg-type]


def _policy() -> dict[str, object]:
    return {"gate_quantile": 0.0, "max_sample_share": 1.0, "token_scorer": "magnitude"}


def spoil(path: Path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    if kind == "bit flip":
        data[len(data) // 2] ^= 1
    elif kind == "truncated":
        del data[len(data) // 2 :]
    elif kind == "zero bytes":
        data.clear()
    elif kind == "unreadable":
        path.chmod(0)
        return
    else:
        path.unlink()
        path.mkdir() if kind == "folder" else os.mkfifo(path)
        return
    path.write_bytes(bytes(data))


def found_by_doctor(state: Path) -> list[Check]:
    return [
        check
        for check in (*check_files(state), check_versions(state), check_spool(state))
        if check.verdict != "ok"
    ]


UNSEEN = {
    ("device_id", "bit flip"),  # another name, as good as the one before
    ("device_id", "truncated"),
    ("status.json", "bit flip"),  # a number for people, written anew each second
    ("lock", "bit flip"),  # what stands in it is for people: the kernel holds the lock
    ("lock", "truncated"),
    ("lock", "zero bytes"),
    ("link/reports.jsonl", "bit flip"),  # of devices of before; a broken line is logged
    ("link/reports.jsonl", "truncated"),
    ("history.sqlite", "bit flip"),
    ("escalation.sqlite", "bit flip"),
    ("spool.sqlite", "bit flip"),  # of a page that nobody uses
}
"""Where one bit more or less cannot be seen, or does not matter."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_a_device_answers_whatever_is_broken_and_doctor_names_it(
    used: Path, pair_dir: Path, tmp_path: Path, name: str, kind: str
) -> None:
    if kind == "unreadable" and os.geteuid() == 0:
        pytest.skip("root reads everything")
    state = tmp_path / "state"
    shutil.copytree(used, state)
    spoil(state / name, kind)
    spoilt = None if kind in ("folder", "pipe", "unreadable") else (state / name).read_bytes()

    found = found_by_doctor(state)
    slot = f"slot {Path(name).parent.name}"
    named = any(name in check.found or slot in check.found for check in found)
    assert named or (name, kind) in UNSEEN, [check.found for check in found]

    changes = ESCALATING if name == "escalation.sqlite" else {}
    for _ in range(2):
        with device(state, pair_dir, **changes) as daemon:
            assert ask(daemon)
    is_status = name in ("status.json", "lock", "rollback.json", "step.json")
    if spoilt and named and not is_status and kind != "bit flip":
        held = [path.read_bytes() for path in state.rglob("*") if path.is_file()]
        assert spoilt in held or name.startswith("slots/"), "a broken file is set aside"


@pytest.mark.parametrize("folder", ["link", "slots", "slots/a", "slots/b"])
def test_a_file_where_a_folder_should_be(
    used: Path, pair_dir: Path, tmp_path: Path, folder: str
) -> None:
    state = tmp_path / "state"
    shutil.copytree(used, state)
    shutil.rmtree(state / folder)
    (state / folder).write_text("a file")
    assert any(folder in check.found for check in found_by_doctor(state))
    with device(state, pair_dir) as daemon:
        assert ask(daemon)


def test_a_state_folder_that_is_taken_away_while_the_device_runs(
    pair_dir: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    with device(state, pair_dir) as daemon:
        ask(daemon, 1)
        before = daemon.snapshot()
        shutil.rmtree(state)
        assert ask(daemon, 2)
        daemon._tick()
        after = daemon.snapshot()
        assert after.device_id == before.device_id
        assert after.spool["num_samples"] >= before.spool["num_samples"]
    assert (state / "device_id").read_text().strip() == before.device_id
    with device(state, pair_dir) as daemon:
        assert daemon.snapshot().spool["num_samples"] == after.spool["num_samples"]


def test_a_state_folder_that_is_a_file_is_a_wrong_setting(pair_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with (
        pytest.raises(ConfigError, match="cannot be used"),
        device(tmp_path / "state", pair_dir),
    ):
        pass
    assert [check.verdict for check in check_files(tmp_path / "state")] == ["fail"]
