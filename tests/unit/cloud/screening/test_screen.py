"""What the screen sets apart, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from driftline_cloud.screening.screen import Suspect, counted, screen
from driftline_cloud.screening.seen import Seen
from driftline_cloud.screening.settings import ScreenSettings
from driftline_shared.errors import Reason

CELLS, WIDTH, KEPT = 16, 12, 4
SETTINGS = ScreenSettings()


def _seen(
    number: int,
    *,
    device: str = "",
    answer: str = "",
    question: str = "what?",
    scale: float = 1.0,
    disputed: float = 0.0,
    like: Seen | None = None,
) -> Seen:
    """A sample of a fleet of ten; `like`: the tokens of that one, a hair apart."""
    rng = np.random.default_rng(number)
    tokens = scale * rng.standard_normal((KEPT, WIDTH))
    positions = np.sort(rng.permutation(CELLS)[:KEPT]).astype(np.int32)
    if like is not None:
        tokens, positions = like.tokens + 0.01 * tokens, like.positions
    return Seen(
        id=number.to_bytes(16, "big"),
        device=device or f"d{number % 10}",
        question=question,
        answer=answer or f"a{number % 3}",
        disputed=disputed,
        tokens=tokens,
        values=np.clip(tokens / 10.0, -1.0, 1.0).astype(np.float32),
        positions=positions,
        num_cells=CELLS,
    )


def _found(seen: list[Seen], settings: ScreenSettings = SETTINGS) -> dict[int, Reason]:
    return {int.from_bytes(one.sample_id, "big"): one.reason for one in screen(seen, settings)}


HONEST = [_seen(number) for number in range(60)]


def test_an_honest_fleet_is_left_alone_in_any_drift() -> None:
    assert _found(HONEST) == {}
    assert _found([_seen(number, scale=5.0) for number in range(60)]) == {}
    # Some devices in a drift of their own, three times as far from the source as the others.
    assert _found(HONEST[:50] + [_seen(100 + n, scale=1.7) for n in range(10)]) == {}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([_seen(100, scale=8.0)], Reason.SAMPLE_OUTLIER),
        ([_seen(100, disputed=0.95)], Reason.SAMPLE_DISPUTED),
        ([_seen(100 + n, like=HONEST[7], device="d7") for n in range(5)], Reason.SAMPLE_COPY),
        ([_seen(100 + n, device="h", answer="odd") for n in range(6)], Reason.SAMPLE_LONE_ANSWER),
    ],
)
def test_each_rule_finds_its_own(bad: list[Seen], reason: Reason) -> None:
    found = _found(HONEST + bad)
    assert found == {int.from_bytes(one.id, "big"): reason for one in bad}
    suspects = screen(HONEST + bad, SETTINGS)
    assert sum(counted(suspects).values()) == len(bad)


def test_what_is_rare_and_what_two_devices_have_is_not_a_lone_answer() -> None:
    assert _found([*HONEST, _seen(100, device="h", answer="odd")]) == {}
    many = [_seen(100 + n, device="h", answer="odd") for n in range(6)]
    assert _found([*HONEST, *many, _seen(200, device="d1", answer="odd")]) == {}


def test_a_copy_is_of_the_same_device_and_question_and_the_oldest_stays() -> None:
    copy = _seen(100, like=HONEST[7], device="d7")
    assert _found([copy, *HONEST]) == {7: Reason.SAMPLE_COPY}
    assert _found([*HONEST, _seen(100, like=HONEST[7], device="d7", question="where?")]) == {}
    assert _found([*HONEST, _seen(100, like=HONEST[7], device="d6")]) == {}


def test_a_copy_of_a_copy_and_a_dim_world() -> None:
    one = _seen(100, device="d7")
    chain = [one, _seen(101, like=one, device="d7"), _seen(102, like=one, device="d7")]
    assert _found([*HONEST, *chain]) == {101: Reason.SAMPLE_COPY, 102: Reason.SAMPLE_COPY}
    # Unlike pictures of little contrast, in a fleet of much: their own spread is the unit.
    assert _found([*HONEST, *(_seen(100 + n, device="d7", scale=0.01) for n in range(20))]) == {}


def test_copies_over_several_blocks_of_rows_are_those_found_one_by_one() -> None:
    some = [_seen(1000 + n, device="d7") for n in range(300)]
    again = [_seen(2000 + n, like=some[n], device="d7") for n in range(0, 300, 3)]
    found = _found([*HONEST, *some, *again])
    assert found == {2000 + n: Reason.SAMPLE_COPY for n in range(0, 300, 3)}


def test_samples_that_share_too_few_cells_or_have_one_are_no_copies() -> None:
    one = _seen(100, device="d7")
    elsewhere = replace(one, id=b"\1" * 16, positions=(one.positions + 7) % CELLS)
    assert _found([*HONEST, one, elsewhere]) == {}
    lone = replace(one, tokens=one.tokens[:1], values=one.values[:1], positions=one.positions[:1])
    assert _found([*HONEST, lone, replace(lone, id=b"\2" * 16)]) == {}


def test_few_devices_and_rules_that_are_off() -> None:
    bad = [_seen(100, disputed=0.95), _seen(101, scale=8.0)]
    assert _found(HONEST + bad, ScreenSettings(enabled=False)) == {}
    off = ScreenSettings(dispute_confidence=0.0, outlier_ratio=0.0)
    assert _found(HONEST + bad, off) == {}
    assert _found([one for one in HONEST + bad if one.device in ("d0", "d1")]) == {}
    assert screen([], SETTINGS) == []


def test_values_of_any_size_are_screened() -> None:
    huge = _seen(100, scale=1e150)
    tokens = np.clip(huge.tokens, -100, 100)
    huge = replace(huge, tokens=tokens, values=np.sign(tokens).astype(np.float32))
    (found,) = screen([*HONEST, huge], SETTINGS)
    assert isinstance(found, Suspect) and found.reason == Reason.SAMPLE_OUTLIER
