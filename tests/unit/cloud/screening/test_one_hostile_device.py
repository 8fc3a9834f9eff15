"""Whatever one device of three or more sends, no other device's sample is set apart for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline_cloud.screening.rules import lone_answers
from driftline_cloud.screening.screen import screen
from driftline_cloud.screening.seen import CLIP, Seen
from driftline_cloud.screening.settings import ScreenSettings

CELLS, WIDTH, KEPT, EACH = 16, 12, 4, 8
QUESTIONS, ANSWERS = ("what?", "where?"), ("a0", "a1", "a2")
HOSTILE = "h"


def _seen(number: int, device: str, tokens: np.ndarray, question: str, answer: str) -> Seen:
    tokens = np.clip(tokens, -CLIP, CLIP)
    rng = np.random.default_rng(number)
    return Seen(
        id=number.to_bytes(16, "big"),
        device=device,
        question=question,
        answer=answer,
        disputed=0.0,
        tokens=tokens,
        values=np.clip(tokens / 10.0, -1.0, 1.0).astype(np.float32),
        positions=np.sort(rng.permutation(CELLS)[:KEPT]).astype(np.int32),
        num_cells=CELLS,
    )


def _honest(num_devices: int) -> list[Seen]:
    """Samples of devices in worlds of their own, the farthest 9 times as far as the nearest; one
    has an answer of its own, three times.
    """
    found = []
    for number in range(num_devices * EACH):
        device = number % num_devices
        rng = np.random.default_rng(number)
        tokens = (1.0 + 2.0 * device / num_devices) * rng.standard_normal((KEPT, WIDTH))
        answer = "own" if device == 0 and number // num_devices < 3 else ANSWERS[number // 2 % 3]
        found.append(_seen(number, f"d{device}", tokens, QUESTIONS[number % 2], answer))
    return found


HONEST = {num: _honest(num) for num in (2, 3, 4, 9)}
"""By how many devices are honest."""


@st.composite
def _attacks(draw: st.DrawFn) -> tuple[int, list[Seen]]:
    """How many are honest, and a round in order of arrival with one device more: tokens of its
    own, or of an honest sample that is to come or has come, at any size and noise.
    """
    num_honest = draw(st.sampled_from(sorted(HONEST)))
    honest = HONEST[num_honest]
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    bad = []
    for kind in range(draw(st.integers(1, 3))):
        like = draw(st.none() | st.integers(0, len(honest) - 1))
        scale = draw(st.sampled_from([0.0, 1e-9, 1e-3, 1.0, 5.0, 1e3, 1e150]))
        noise = draw(st.sampled_from([0.0, 1e-6, 0.01, 1.0, 1e6]))
        question = draw(st.sampled_from((*QUESTIONS, "odd?")))
        answer = draw(st.sampled_from((*ANSWERS, "own", "odd", "each")))
        for number in range(draw(st.sampled_from([1, 3, 20, 120]))):
            start = rng.standard_normal((KEPT, WIDTH)) if like is None else honest[like].tokens
            tokens = scale * start + noise * rng.standard_normal((KEPT, WIDTH))
            said = f"odd{number}" if answer == "each" else answer
            bad.append(_seen(10_000 * (kind + 1) + number, HOSTILE, tokens, question, said))
    where = draw(st.sampled_from(["first", "last", "between"]))
    order = [*bad, *honest] if where == "first" else [*honest, *bad]
    if where == "between":
        # In any order of the two, and in their own each.
        turns = rng.permutation([True] * len(bad) + [False] * len(honest))
        left = {True: iter(bad), False: iter(honest)}
        order = [next(left[bool(turn)]) for turn in turns]
    return num_honest, order


def _displaced(seen: list[Seen], limits: ScreenSettings | None = None) -> list[str]:
    ids = {one.id: one for one in seen}
    found = screen(seen, limits or ScreenSettings())
    return [one.detail for one in found if ids[one.sample_id].device != HOSTILE]


@pytest.mark.parametrize("num_honest", sorted(HONEST))
def test_the_honest_alone_lose_nothing(num_honest: int) -> None:
    assert _displaced(HONEST[num_honest], ScreenSettings(least_devices=2)) == []


@settings(max_examples=80, deadline=None)
@given(_attacks())
def test_one_device_displaces_nobody(attack: tuple[int, list[Seen]]) -> None:
    num_honest, order = attack
    assert len({one.device for one in order}) == num_honest + 1
    assert _displaced(order) == []


def _flood(num: int, scale: float, *, answer: str = "a0") -> list[Seen]:
    rng = np.random.default_rng(1)
    return [
        _seen(10_000 + n, HOSTILE, scale * rng.standard_normal((KEPT, WIDTH)), "what?", answer)
        for n in range(num)
    ]


@pytest.mark.parametrize("num_honest", [2, 3, 4])
def test_one_that_floods_is_not_the_median(num_honest: int) -> None:
    far, near = _flood(300, 60.0), _flood(300, 1e-6)
    honest = HONEST[num_honest]
    assert _displaced([*far, *honest]) == []
    assert len(screen([*far, *honest], ScreenSettings(copy_distance=0.0))) == len(far)
    assert _displaced([*near, *honest]) == []


@pytest.mark.parametrize("num_own", [9, 10, 12])
@pytest.mark.parametrize("num_sent", [1, 60, 100, 110, 900])
@pytest.mark.parametrize("num_answers", [1, 3, 9])
def test_a_device_more_makes_no_answer_of_others_a_lone_one(
    num_own: int, num_sent: int, num_answers: int
) -> None:
    """Where only the largest other was left out, it was an honest one before, and then this one."""
    rng = np.random.default_rng(0)
    honest = [
        _seen(
            n,
            f"d{n % 3}",
            rng.standard_normal((KEPT, WIDTH)),
            "what?",
            "own" if n % 3 == 0 and n < 3 * num_own else ANSWERS[n // 3 % 3],
        )
        for n in range(300)
    ]
    sent = [
        replace(one, answer=ANSWERS[n % num_answers] if num_answers <= 3 else f"odd{n % 9}")
        for n, one in enumerate(_flood(num_sent, 1.0))
    ]
    assert lone_answers(honest, error_rate=1e-3) == {}
    assert not {one.id for one in honest} & set(lone_answers([*honest, *sent], error_rate=1e-3))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=6),
    st.integers(1, 40),
    st.lists(st.sampled_from([*ANSWERS, "odd"]), min_size=1, max_size=90),
)
def test_what_is_lone_with_a_device_more_is_lone_by_the_weaker_test_without_it(
    sizes: list[int], num_own: int, sent: list[str]
) -> None:
    def many(device: str, first: int, answers: list[str]) -> list[Seen]:
        tokens = np.zeros((KEPT, WIDTH))
        return [_seen(first + n, device, tokens, "what?", one) for n, one in enumerate(answers)]

    own = min(num_own, sizes[0])
    honest = many("d0", 0, ["own"] * own + ["a0"] * (sizes[0] - own))
    for number, size in enumerate(sizes[1:], start=1):
        honest += many(f"d{number}", 1_000 * number, ["a0", *["a1"] * (size - 1)])
    found = lone_answers([*honest, *many(HOSTILE, 10_000, sent)], error_rate=1e-3)
    if honest[0].id in found:
        part = sizes[0] / (sum(sizes) - max(sizes[1:]))
        assert len({one.answer for one in honest}) * part ** (own - 1) <= 1e-3


def test_one_that_spreads_wide_makes_no_copies_of_others() -> None:
    """With the round's variance as the unit, as it was, all of a question would be copies."""
    assert _displaced([*_flood(9, 1e6), *HONEST[9]], ScreenSettings(outlier_ratio=0.0)) == []


@pytest.mark.parametrize("num_honest", [2, 3, 4])
def test_one_that_floods_makes_no_answer_of_others_a_lone_one(num_honest: int) -> None:
    """Where its samples counted, the part of the device with an answer of its own would be 1 in
    hundreds.
    """
    assert _displaced([*_flood(900, 1.0), *HONEST[num_honest]]) == []
