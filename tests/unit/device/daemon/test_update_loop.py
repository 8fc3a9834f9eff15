"""The updates' thread sleeps in every state; a fake clock counts its turns."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_device.daemon.update_loop import SETTLING_POLL_S, UpdateLoop
from driftline_device.updates.applier import Applier
from driftline_shared.errors import LinkError
from tests.fakes.clock import FakeClock
from tests.fakes.runtime import PAIR, SPACE, FakeRuntime, adapter, probe_set
from tests.fakes.updates import FakeUpdateLink, make_update

POLL_S = 5.0
OUTCOMES = ("nothing", "progress", "refused", "unreachable", "act_raises", "poll_raises")


@dataclass
class _State:
    version: int = 0


@dataclass
class _Applier:
    """What the loop sees of an applier; `outcome` is what the next turn meets."""

    outcome: str = "nothing"
    wake: threading.Event = field(default_factory=threading.Event)
    state: _State = field(default_factory=_State)
    failed_versions: list[int] = field(default_factory=list)
    num_polls: int = 0

    def act(self) -> None:
        self.wake.clear()
        if self.outcome == "act_raises":
            raise OSError(28, "No space left on device")

    def poll(self, link: Any) -> bool:
        self.num_polls += 1
        if self.outcome == "unreachable":
            raise LinkError("nobody there")
        if self.outcome == "poll_raises":
            raise OSError(28, "No space left on device")
        if self.outcome == "progress":
            self.state.version += 1
        return self.outcome in ("progress", "refused")


@contextmanager
def _at_updates() -> Iterator[None]:
    yield


@given(
    states=st.lists(
        st.tuples(
            st.booleans(),  # paused
            st.booleans(),  # settling
            st.sampled_from(OUTCOMES),
            st.integers(1, 20),  # turns in this state
        ),
        min_size=1,
        max_size=12,
    ),
    has_link=st.booleans(),
)
def test_turns_are_bounded_by_the_pace_in_every_state(
    states: list[tuple[bool, bool, str, int]], has_link: bool
) -> None:
    clock, applier = FakeClock(), _Applier()
    now: dict[str, bool] = {"paused": False, "settling": False}
    loop = UpdateLoop(
        applier,  # type: ignore[arg-type]
        FakeUpdateLink() if has_link else None,
        clock,
        poll_s=lambda: POLL_S,
        is_settling=lambda: now["settling"],
        is_paused=lambda: now["paused"],
        at_updates=_at_updates,
    )
    num_turns = num_settling = 0
    for paused, settling, outcome, turns in states:
        now.update(paused=paused, settling=settling)
        applier.outcome = outcome
        for _ in range(turns):
            clock.wait(applier.wake, loop.turn())
            num_turns += 1
            num_settling += settling

    passed_s = clock.monotonic_s()
    # Whoever got a version further looks at once for the next; the others sleep. One turn may be
    # cut short by each change of state.
    quick = applier.state.version + len(states)
    assert num_turns - num_settling - quick <= 1 + passed_s / POLL_S
    assert num_turns - applier.state.version - len(states) <= 1 + passed_s / SETTLING_POLL_S


def test_an_offer_that_is_refused_again_and_again_is_asked_for_at_the_usual_pace(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    link = FakeUpdateLink(make_update(adapter(skill=1.0), 1, expires_unix_s=1), stubborn=True)
    applier = Applier(
        state_dir=tmp_path, runtime=FakeRuntime(), pair_name=PAIR, token_space=SPACE,
        probe_set=probe_set(), clock=clock,
    )  # fmt: skip
    loop = UpdateLoop(
        applier, link, clock, poll_s=lambda: POLL_S, is_settling=lambda: False,
        is_paused=lambda: False, at_updates=_at_updates,
    )  # fmt: skip
    for _ in range(10):
        clock.wait(applier.wake, loop.turn())

    assert applier.state.version == 0 and len(link.asked) == 10
    assert clock.monotonic_s() == pytest.approx(10 * POLL_S)


def test_two_versions_one_after_the_other_are_taken_without_a_wait() -> None:
    clock, applier = FakeClock(), _Applier(outcome="progress")
    loop = UpdateLoop(
        applier,  # type: ignore[arg-type]
        FakeUpdateLink(),
        clock,
        poll_s=lambda: POLL_S,
        is_settling=lambda: False,
        is_paused=lambda: False,
        at_updates=_at_updates,
    )
    assert loop.turn() == 0.0
    applier.outcome = "nothing"
    clock.advance(POLL_S)
    assert loop.turn() == POLL_S
