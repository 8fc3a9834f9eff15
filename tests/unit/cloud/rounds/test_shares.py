"""How much of a round one device may give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.intake.admission import Quota
from driftline_cloud.intake.counts import USED, WAITING
from driftline_cloud.rounds.ledger import HOLDOUT, TRAIN
from driftline_cloud.rounds.round import RoundState
from driftline_cloud.rounds.shares import Shares, claim, most_of_each
from driftline_cloud.service.cloud import Cloud
from driftline_shared.errors import LinkError, Reason
from driftline_shared.tokens import Sample
from driftline_shared.wire import EncodedSample
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers, make_sample
from tests.fakes.rounds import open_cloud, run_rounds

SIZES = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 60), max_size=30)


@given(sizes=SIZES, share=st.floats(0.01, 0.99))
def test_it_is_the_largest_that_holds(sizes: dict[str, int], share: float) -> None:
    def holds(most: int) -> bool:
        return most <= share * sum(min(size, most) for size in sizes.values()) + 1e-6

    found, top = most_of_each(sizes, share), max(sizes.values(), default=0)
    assert found == max(most for most in range(top + 1) if holds(most))


@given(sizes=SIZES, most=st.integers(2, 200), share=st.floats(0.02, 1.0))
def test_no_device_gives_more_than_its_share(
    sizes: dict[str, int], most: int, share: float
) -> None:
    taken = claim(
        sizes,
        Shares(most_samples=most, device_share=share, holdout_share=0.15),
        num_devices=len(sizes),
    )
    assert taken.num_taken <= most and all(taken.quota[d] <= sizes[d] for d in taken.quota)
    # A full round is shared out in whole samples: one more than even, at most.
    for count in taken.quota.values():
        assert count <= max(1, taken.share * taken.num_taken + 1)
    assert taken.share >= min(1, 3 / max(1, len(sizes)))


@pytest.mark.parametrize(
    ("waiting", "num_devices", "quota"),
    [
        ({"a": 300}, 1, {"a": 300}),  # a fleet of one learns from all it has
        ({"a": 300, "b": 5, "c": 0}, 3, {"a": 300, "b": 5, "c": 0}),
        ({"a": 300}, 20, {"a": 0}),  # what one alone left over has no round to itself
        ({f"{n}": 10 for n in range(20)}, 20, {f"{n}": 10 for n in range(20)}),
        (
            {"flood": 1_000, **{f"{n}": 10 for n in range(19)}},
            20,
            {"flood": 33, **{f"{n}": 10 for n in range(19)}},
        ),
    ],
)
def test_what_a_round_takes(
    waiting: dict[str, int], num_devices: int, quota: dict[str, int]
) -> None:
    shares = Shares(most_samples=2_048, device_share=0.1)
    assert claim(waiting, shares, num_devices=num_devices).quota == quota


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cloud(tmp_path: Path, clock: FakeClock) -> Iterator[Cloud]:
    opened = open_cloud(tmp_path / "state", ReckoningWorkers(), clock)
    yield opened
    opened.close()


def _send(cloud: Cloud, clock: FakeClock, device_id: str, numbers: range) -> list[Sample]:
    line = cloud.lines.of(cloud.first).line
    samples = [make_sample(number, line.token_space) for number in numbers]
    cloud.store.add(
        [EncodedSample.of(sample) for sample in samples],
        device_id=device_id,
        line=line.id,
        token_space=line.token_space.digest,
        gate_score="entropy",
        quota=Quota(),
        now_unix_s=int(clock.now_s()),
    )
    return samples


def test_a_flood_waits_and_the_gate_is_everyones(cloud: Cloud, clock: FakeClock) -> None:
    flood = _send(cloud, clock, "flood", range(200))
    for number in range(19):
        _send(cloud, clock, f"d{number}", range(1_000 + 10 * number, 1_004 + 10 * number))
    run_rounds(cloud)
    rounds = cloud.ledger.newest(cloud.line.id, limit=9)
    assert [one.state for one in rounds] == [RoundState.DONE]  # none of what is left alone
    parts = cloud.ledger.parts(rounds[0].id)
    owners = cloud.ledger.devices([*parts[TRAIN], *parts[HOLDOUT]])
    train = Counter(owners[one] for one in parts[TRAIN])
    held = Counter(owners[one] for one in parts[HOLDOUT])
    assert train["flood"] <= 0.15 * train.total() and held["flood"] <= 0.15 * held.total()
    assert max(held.values()) - min(held[f"d{number}"] for number in range(19)) <= 1
    states = Counter(cloud.store.states([one.id for one in flood]).values())
    assert states == {USED: train["flood"] + held["flood"], WAITING: states[WAITING]}
    numbers = rounds[0].numbers
    assert numbers["shares.left_waiting"] == states[WAITING]
    assert (numbers["shares.devices"], numbers["shares.most"]) == (20, 0.15)
    assert "rounds.device_share" in cloud.coordinator.held
    with pytest.raises(LinkError, match=r"20 devices may give \(rounds\.device_share\)") as caught:
        cloud.start_round("")
    assert caught.value.reason == Reason.TOO_FEW_SAMPLES
    # A device that others' silence leaves alone for days is a fleet of one.
    clock.advance(2 * 86_400)
    run_rounds(cloud)
    assert set(cloud.store.states([one.id for one in flood]).values()) == {USED}
