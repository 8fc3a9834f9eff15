"""A round whose devices differ asks whether groups pay, and splits its line where they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_cloud.config import CloudConfig
from driftline_cloud.distill.gate.rule import GateLimits
from driftline_cloud.intake import counts
from driftline_cloud.intake.admission import Quota
from driftline_cloud.intake.line import Line
from driftline_cloud.lines.book import LineBook
from driftline_cloud.lines.pairs import named_line
from driftline_cloud.rollout.store import RolloutStore
from driftline_cloud.rounds.group_work import ASKED, FOUND, SPLIT
from driftline_cloud.rounds.leases import Lease
from driftline_cloud.rounds.ledger import PARTS
from driftline_cloud.rounds.round import Round, RoundState
from driftline_cloud.service.assembly import WholeCloud, assemble_work
from driftline_cloud.service.calls import check_update, enrol
from driftline_cloud.state import StateFolder
from driftline_shared.callbacks import ignore
from driftline_shared.status import Enrolment, UpdateQuery
from driftline_shared.wire import EncodedSample
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import bare_pair, fake_makers
from tests.fakes.drifting import DriftingWorkers, drifted_sample
from tests.fakes.rounds import DWC, SETTINGS, open_cloud, released_files, run_rounds

NIGHT = [f"night-{number}" for number in range(5)]
SKETCH = [f"sketch-{number}" for number in range(4)]
EACH = 10
ROUNDS = SETTINGS.model_copy(
    update={"trigger": SETTINGS.trigger.model_copy(update={"round_samples": 9 * EACH})}
)


class Killed(BaseException):
    """What a kill looks like from inside."""


def fleet(folder: Path, devices: list[str], *, watch: object = ignore) -> WholeCloud:
    """A cloud that `devices`, named by their drifts, have sent `EACH` samples."""
    cloud = open_cloud(
        folder,
        DriftingWorkers(),
        FakeClock(),
        settings=ROUNDS,
        watch=watch,  # type: ignore[arg-type]
        groups=True,
    )
    cloud.lines.refresh()
    line = cloud.line
    for number, device in enumerate(devices):
        enrol(cloud, _enrolment(line, device))
        drift = device.partition("-")[0]
        rows = range(number * EACH, (number + 1) * EACH)
        cloud.store.add(
            [EncodedSample.of(drifted_sample(row, line.token_space, drift)) for row in rows],
            device_id=device,
            line=line.id,
            token_space=line.token_space.digest,
            gate_score="entropy",
            quota=Quota(),
            now_unix_s=1_700_000_000,
        )
    return cloud


def _enrolment(line: Line, device: str) -> Enrolment:
    return Enrolment(
        device_id=device,
        pair=line.pair,
        token_space=line.token_space.digest,
        base_model=line.base_model,
        adapter_version=0,
    )


def offered(cloud: WholeCloud, device: str, held: int = 0) -> tuple[int, str]:
    """Version and digest that a device is offered; (0, "") for none."""
    base = cloud.line.base_model
    query = UpdateQuery(device_id=device, base_model=base, adapter_version=held)
    manifest = check_update(cloud, query)
    return (0, "") if manifest is None else (manifest.target_version, manifest.target_digest.hex())


def run_group(folder: Path, cloud: WholeCloud, line: str) -> Round:
    """Run the open round of a group to its end, as its working process would."""
    pair = bare_pair(folder.parent / "pair")
    config = CloudConfig(state=folder, rounds=ROUNDS, gate=GateLimits(), dwc=DWC)
    lease = Lease(cloud.database, line, owner="here", clock=cloud.clock, lease_s=15.0)
    work = assemble_work(
        config,
        StateFolder(folder),
        fake_makers(DriftingWorkers(), lambda _name: pair, clock=cloud.clock),
        pair=pair,
        line=named_line(pair, line),
        database=cloud.database,
        lease=lease,
        registry=cloud.registry,
        watch=ignore,
    )
    while work.coordinator.step():
        pass
    work.close()
    return cloud.ledger.newest(line)[0]


def test_two_drifts_get_adapters_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "cloud"
    cloud = fleet(folder, NIGHT + SKETCH)
    line = cloud.line.id
    run_rounds(cloud)
    round_ = cloud.ledger.newest(line)[0]
    assert (round_.state, round_.num_samples) == (RoundState.DONE, 5 * EACH)
    assert (round_.numbers[FOUND], round_.numbers[ASKED], round_.numbers[SPLIT]) == (2, 1, 1)
    assert round_.numbers["groups.gain"] > 0.1
    child = LineBook(cloud.database).find(f"{line}.g2")
    assert (child.parent, child.forked_version) == (line, 0)
    with cloud.database.read() as connection:
        assert counts.recount(connection) == []
    assert [one.action for one in RolloutStore(cloud.database).log(line=child.id)] == ["begin"]

    # The other group's round is open with its samples, and gives it a version of its own.
    waiting = cloud.ledger.open_round(child.id)
    assert waiting is not None
    assert (waiting.num_samples, waiting.trigger) == (4 * EACH, "split")
    cloud.lines.refresh()
    done = run_group(folder, cloud, child.id)
    assert (done.state, done.target_version) == (RoundState.DONE, 1)
    ours, theirs = offered(cloud, NIGHT[0]), offered(cloud, SKETCH[0])
    assert ours[0] == theirs[0] == 1 and ours[1] != theirs[1]
    assert {offered(cloud, device) for device in NIGHT} == {ours}
    assert {offered(cloud, device) for device in SKETCH} == {theirs}

    # A device that enrols again stays in its group, a new one is of the line.
    enrol(cloud, _enrolment(cloud.line, SKETCH[0]))
    enrol(cloud, _enrolment(cloud.line, "sketch-new"))
    assert [cloud.known_device(one).line for one in (SKETCH[0], "sketch-new")] == [child.id, line]
    cloud.close()


def test_one_drift_is_one_line(tmp_path: Path) -> None:
    cloud = fleet(tmp_path / "cloud", [f"night-{number}" for number in range(9)])
    run_rounds(cloud)
    round_ = cloud.ledger.newest(cloud.line.id)[0]
    assert round_.state is RoundState.DONE
    assert round_.numbers[FOUND] == 1 and ASKED not in round_.numbers
    assert len(LineBook(cloud.database).all()) == 1
    cloud.close()


def test_groups_that_do_not_pay_share_an_adapter_and_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Their tokens differ, what is to be learnt does not.
    monkeypatch.setattr("tests.fakes.drifting._goal", lambda _sample: _one_goal())
    cloud = fleet(tmp_path / "cloud", NIGHT + SKETCH)
    run_rounds(cloud)
    round_ = cloud.ledger.newest(cloud.line.id)[0]
    assert round_.state is RoundState.DONE and round_.num_samples == 9 * EACH
    assert (round_.numbers[FOUND], round_.numbers[ASKED], round_.numbers[SPLIT]) == (2, 1, 0)
    assert len(LineBook(cloud.database).all()) == 1
    (kept,) = [one for one in cloud.rollouts.log() if one.action == "keep"]
    assert kept.line == cloud.line.id and "one adapter for all: " in kept.detail
    parts = cloud.ledger.parts(round_.id)
    assert sum(len(parts[part]) for part in PARTS) == 9 * EACH
    cloud.close()


def _one_goal() -> dict[str, object]:
    from tests.fakes.cloud import _goal

    return _goal()  # type: ignore[return-value]


@pytest.mark.parametrize("event", ["started", "worked", "changed"])
def test_a_kill_around_the_split_loses_and_doubles_nothing(tmp_path: Path, event: str) -> None:
    plain, folder = tmp_path / "plain", tmp_path / "killed"
    undisturbed = fleet(plain, NIGHT + SKETCH)
    run_rounds(undisturbed)

    def kill(what: str, round_: Round) -> None:
        at = RoundState.GATING if event == "changed" else RoundState.GROUPING
        if (what, round_.state) == (event, at):
            raise Killed

    cloud = fleet(folder, NIGHT + SKETCH, watch=kill)
    with pytest.raises(Killed):
        run_rounds(cloud)
    cloud.close()
    again = open_cloud(folder, DriftingWorkers(), FakeClock(), settings=ROUNDS, groups=True)
    run_rounds(again)
    for one in (undisturbed, again):
        one.lines.refresh()  # the group's folder is made by whoever needs it first
        assert len(LineBook(one.database).all()) == 2
        with one.database.read() as connection:
            assert counts.recount(connection) == []
    assert released_files(folder) == released_files(plain)
    rounds = [
        [(row.id, row.num_samples, row.state) for row in one.ledger.newest(f"{one.line.id}.g2")]
        for one in (undisturbed, again)
    ]
    assert rounds[0] == rounds[1] and len(rounds[0]) == 1
    undisturbed.close()
    again.close()
