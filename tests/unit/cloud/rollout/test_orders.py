"""Rollouts in a database: whom a version reaches, what stops it, who did what."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline_cloud.intake.database import Database
from driftline_cloud.intake.devices import DeviceRegister
from driftline_cloud.rollout.orders import RolloutOrders
from driftline_cloud.rollout.plan import RolloutSettings
from driftline_cloud.rollout.rollout import RolloutState
from driftline_cloud.rollout.store import RolloutStore, what_waits
from driftline_shared.errors import DataError, DriftlineError, Reason
from driftline_shared.status import Enrolment, UpdateOutcome, UpdateReport
from tests.fakes.clock import FakeClock

LINE = "l"
PHASED = RolloutSettings(shares=(0.1, 0.5, 1.0), least_devices=20, least_s=60.0, least_reports=3)


class Fleet:
    """A database of devices, thin ones: they take what they may and say how it went."""

    def __init__(self, num_devices: int = 0) -> None:
        self.clock = FakeClock()
        self.database = Database("sqlite://")
        self.devices = DeviceRegister(self.database)
        self.store = RolloutStore(self.database)
        self.orders = RolloutOrders(self.database, self.clock)
        self.published = 0
        self.ran: dict[int, set[str]] = {}
        self.held: dict[str, int] = {}
        for _ in range(num_devices):
            self.enrol()

    def enrol(self) -> None:
        name = f"d{len(self.held)}"
        self.held[name] = 0
        self.devices.enrol(
            Enrolment(device_id=name, pair="p", token_space="t", base_model="b", adapter_version=0),
            LINE,
            now_unix_s=int(self.clock.now_s()),
        )

    def release(self, how: RolloutSettings = PHASED, base: int | None = None):
        version = self.published + 1
        begun = self.orders.begin(
            LINE,
            version,
            round_id=f"r{version}",
            base_version=self.published if base is None else base,
            settings=how,
        )
        self.published = version
        self._know(version)
        return begun

    def _know(self, version: int) -> None:
        from sqlalchemy import insert

        from driftline_cloud.intake import tables

        with self.database.write() as connection:
            connection.execute(
                insert(tables.versions).values(
                    line=LINE, version=version, round_id=f"r{version}", digest="", released_unix_s=0
                )
            )

    def ask(self, name: str) -> int | None:
        """The device takes what it is offered."""
        for version in self.store.reach(LINE, self.published).versions_for(name):
            if version > self.held[name]:
                self.held[name] = version
                self.ran.setdefault(version, set()).add(name)
                return version
        return None

    def report(self, name: str, version: int, outcome=UpdateOutcome.APPLIED, reason="") -> None:
        device = self.devices.find(name)
        assert device is not None
        said = UpdateReport(version=version, outcome=outcome, reason=reason)
        self.devices.add_report(
            device, said, adapter_version=version, now_unix_s=int(self.clock.now_s())
        )

    def all_ask_and_report(self, outcome=UpdateOutcome.APPLIED) -> None:
        for name in self.held:
            if (version := self.ask(name)) is not None:
                self.report(name, version, outcome)

    def step(self):
        return self.orders.step(LINE, self.published)

    def finish_restore(self) -> int:
        """What whoever serves the line does after a stop (see restore.py)."""
        stopped = self.store.owing(LINE)
        assert stopped is not None
        self.published += 1
        self.orders.followed(stopped, version=self.published, round_id="undo", digest="aa")
        return self.published


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    made = Fleet(40)
    yield made
    made.database.close()


def test_a_good_version_goes_from_the_canary_to_everyone(fleet: Fleet) -> None:
    fleet.release()
    reached = []
    for _ in range(3):
        fleet.all_ask_and_report()
        reached.append(len(fleet.ran[1]))
        fleet.clock.advance(61.0)
        assert fleet.step() is not None
    assert reached == [4, 20, 40]
    done = fleet.store.get(LINE, 1)
    assert done is not None and done.state is RolloutState.COMPLETE
    assert fleet.store.members(LINE, 1) == frozenset()
    actions = [one.action for one in fleet.store.log(line=LINE)]
    assert actions == ["complete", "go_on", "go_on", "begin"]


def test_a_bad_version_is_stopped_by_itself_and_the_one_before_comes_back(fleet: Fleet) -> None:
    fleet.release(RolloutSettings(least_devices=100))
    fleet.all_ask_and_report()
    fleet.release()
    fleet.all_ask_and_report(UpdateOutcome.ROLLED_BACK)
    stopped = fleet.step()
    assert stopped is not None
    assert (stopped.state, stopped.restore_to) == (RolloutState.STOPPED, 1)
    assert stopped.reason == "4 of 4 devices did not keep it"
    assert fleet.store.reach(LINE, 2).versions_for("d0") == ()
    assert fleet.finish_restore() == 3
    fleet.all_ask_and_report()
    assert len(fleet.ran[2]) == 4
    assert set(fleet.held.values()) == {3}
    back = fleet.store.get(LINE, 3)
    assert back is not None and (back.state, back.restores) == (RolloutState.COMPLETE, 1)
    assert [one.action for one in fleet.store.log()][:2] == ["restore", "stop"]


def test_one_flaky_device_stops_nothing(fleet: Fleet) -> None:
    fleet.release(RolloutSettings(shares=(0.5, 1.0), least_s=0.0))
    names = sorted(fleet.store.members(LINE, 1))
    for number, name in enumerate(names):
        fleet.ask(name)
        bad = UpdateOutcome.FAILED if number == 0 else UpdateOutcome.APPLIED
        fleet.report(name, 1, bad, "probe_too_slow" if number == 0 else "")
        changed = fleet.step()
        assert changed is None or changed.state is not RolloutState.STOPPED
    assert fleet.store.get(LINE, 1).phase == 1


def test_what_says_nothing_about_the_version_is_no_evidence_and_who_is_not_asked_is_not_heard(
    fleet: Fleet,
) -> None:
    begun = fleet.release()
    inside = sorted(fleet.store.members(LINE, 1))
    outside = [one for one in fleet.held if one not in inside]
    fleet.report(inside[0], 1, UpdateOutcome.REFUSED, str(Reason.BASE_MISMATCH))
    for name in outside[:20]:
        fleet.report(name, 1, UpdateOutcome.FAILED)
    assert fleet.store.evidence(begun).num_reported == 0
    fleet.report(inside[1], 1, UpdateOutcome.APPLIED)
    fleet.report(inside[1], 1, UpdateOutcome.ROLLED_BACK)  # the last word counts
    seen = fleet.store.evidence(begun)
    assert (seen.num_reported, seen.num_bad) == (1, 1)
    assert "for 60 s" in what_waits(begun, seen, now_unix_s=begun.phase_unix_s)


def test_approval_pause_and_promotion_by_hand(fleet: Fleet) -> None:
    fleet.release(PHASED.model_copy(update={"approval": True}))
    assert fleet.store.reach(LINE, 1).versions_for("d0") == (0,)
    fleet.orders.approve(LINE, who="ada", why="seen on the bench")
    inside = next(iter(fleet.store.members(LINE, 1)))
    assert fleet.store.reach(LINE, 1).versions_for(inside) == (1, 0)
    fleet.orders.pause(LINE, who="ada")
    assert fleet.store.reach(LINE, 1).versions_for(inside) == (0,)
    assert fleet.step() is None
    fleet.orders.resume(LINE, who="ada")
    assert fleet.orders.promote(LINE, who="ada").num_devices == 20
    assert fleet.orders.promote(LINE, who="ada", to_all=True).state is RolloutState.COMPLETE
    assert fleet.store.reach(LINE, 1).versions_for("d39") == (1,)
    log = fleet.store.log()
    assert [(one.who, one.action) for one in log][-2:] == [("ada", "approve"), ("cloud", "begin")]
    assert "seen on the bench" in log[-2].detail
    with pytest.raises(DataError, match="no version of line l is on its way"):
        fleet.orders.pause(LINE, who="ada")


def test_a_rollback_takes_back_all_that_came_after(fleet: Fleet) -> None:
    for _ in range(3):
        fleet.release(RolloutSettings(least_devices=100))
    fleet.all_ask_and_report()
    stopped = fleet.orders.rollback(LINE, 1, who="ada")
    assert (stopped.version, stopped.restore_to) == (3, 1)
    with pytest.raises(DataError, match="being released again already"):
        fleet.orders.rollback(LINE, 0, who="ada")
    assert fleet.finish_restore() == 4
    fleet.all_ask_and_report()
    assert set(fleet.held.values()) == {4}
    with pytest.raises(DataError, match="version 2 of line l was stopped"):
        fleet.orders.rollback(LINE, 2, who="ada")
    with pytest.raises(DataError, match="cannot go back to version 9: its newest is 4"):
        fleet.orders.rollback(LINE, 9, who="ada")


def test_a_version_of_before_there_were_rollouts_is_everyones_and_can_be_taken_back(fleet) -> None:
    for version in (1, 2):
        fleet._know(version)
    fleet.published = 2
    assert fleet.store.reach(LINE, 2).versions_for("d0") == (2,)
    assert fleet.orders.rollback(LINE, 1, who="ada").share == 1.0
    assert fleet.finish_restore() == 3
    assert fleet.store.reach(LINE, 3).versions_for("d0") == (3,)


def test_rounds_wait_for_a_version_on_its_way_but_not_for_ever(fleet: Fleet) -> None:
    begun = fleet.release()
    now_s = begun.created_unix_s

    def held(newest: int, after_s: int) -> str:
        return fleet.store.why_held(LINE, newest, now_unix_s=now_s + after_s, most_s=100.0)

    assert held(1, 0) == "version 1 is on its way"
    assert held(0, 0) == ""  # it is not released yet
    assert held(1, 100) == ""
    fleet.orders.stop(LINE, who="ada")
    assert "version 0 is being released again" in held(1, 100)


def test_what_was_built_on_a_stopped_version_is_not_released(fleet: Fleet) -> None:
    fleet.release(RolloutSettings(least_devices=100))
    fleet.orders.rollback(LINE, 0, who="ada")
    with pytest.raises(DriftlineError, match="version 1, on which it was built, was stopped"):
        fleet.release(base=1)
    fleet.finish_restore()
    with pytest.raises(DriftlineError, match="version 1, on which it was built, was stopped"):
        fleet.release(base=1)
    assert fleet.release().version == 3


def test_a_newer_version_takes_the_place_of_one_on_its_way(fleet: Fleet) -> None:
    fleet.release()
    fleet.all_ask_and_report()
    fleet.release()
    assert fleet.store.get(LINE, 1).state is RolloutState.SUPERSEDED
    inside = fleet.store.members(LINE, 2)
    fleet.all_ask_and_report()
    assert fleet.ran[2] == inside
    begun = fleet.store.get(LINE, 2)
    again = fleet.orders.begin(LINE, 2, round_id="r2", base_version=1, settings=PHASED)
    assert again == begun


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.integers(0, 49), st.booleans()),
            st.sampled_from(
                [("enrol",), ("tick",), ("step",), ("pause",), ("resume",), ("stop",), ("promote",)]
            ),
        ),
        max_size=60,
    )
)
def test_no_path_lets_more_run_a_stopped_version_than_its_phases_reached(path) -> None:
    fleet = Fleet(30)
    fleet.release()
    most = fleet.store.get(LINE, 1).num_devices
    for name, *given_ in path:
        if name == "ask":
            number, bad = given_
            device = f"d{number % len(fleet.held)}"
            if (version := fleet.ask(device)) == 1:
                fleet.report(
                    device, version, UpdateOutcome.FAILED if bad else UpdateOutcome.APPLIED
                )
        elif name == "enrol":
            fleet.enrol()
        elif name == "tick":
            fleet.clock.advance(61.0)
        elif name == "step":
            fleet.step()
        else:
            try:
                getattr(fleet.orders, name)(LINE, who="ada")
            except DataError:
                continue
        now = fleet.store.get(LINE, 1)
        if now.share < 1.0:
            most = max(most, now.num_devices)
            assert most <= max(1, now.share * len(fleet.held))
            assert len(fleet.ran.get(1, ())) <= most
        if now.state is RolloutState.STOPPED:
            before = set(fleet.ran.get(1, ()))
            if now.owes_restore:
                fleet.finish_restore()
            fleet.all_ask_and_report()
            assert fleet.ran.get(1, set()) == before
            assert 1 not in fleet.held.values()
            break
    fleet.database.close()
