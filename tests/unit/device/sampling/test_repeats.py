"""A scene that does not change is sent once a question, a changed one again."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_device.runtime.runtime import Answer, Runtime
from driftline_device.sampling.decision import Outcome
from driftline_device.sampling.repeats import (
    KEPT_S,
    MAX_SENT,
    SKETCH_CHANNELS,
    SKETCH_SIDE,
    SentLately,
    Sketch,
    distance,
)
from driftline_device.sampling.sampler import Sampler
from driftline_shared.tokens import Grid, SamplingPolicy, TokenSpace, VisualTokens
from driftline_shared.wire import dump_sample
from tests.fakes.clock import FakeClock
from tests.unit.device.sampling.test_sampler import Scripted, answer, sampler
from tests.unit.device.sampling.test_selector import SPACE, WIDTH, image

DISTANCE = SamplingPolicy().repeat_distance


def sketch(seed: int = 0, question: str = "what is it?", noise: float = 0.0) -> Sketch:
    return Sketch.of(question, noisy(image(seed), noise), SPACE)


def noisy(tokens: VisualTokens, noise: float, seed: int = 9) -> VisualTokens:
    drawn = np.random.default_rng(seed).normal(size=tokens.values.shape).astype(np.float32)
    return replace(tokens, values=tokens.values + noise * drawn)


def scene(seed: int = 0, noise: float = 0.0, draw: int = 9, entropy: float = 2.0) -> Answer:
    given = answer(entropy, seed)
    return replace(given, tokens=noisy(given.tokens, noise, draw))


def ask(made: Sampler, given: Answer, question: str = "what is it?") -> bool:
    return made.consider(question, given, cast(Runtime, Scripted())) is not None


@given(st.integers(0, 50), st.integers(0, 50))
def test_distance_is_symmetric_and_zero_for_the_same_picture(a: int, b: int) -> None:
    assert distance(sketch(a), sketch(a)) == 0.0
    assert distance(sketch(a), sketch(b)) == distance(sketch(b), sketch(a))
    assert a == b or distance(sketch(a), sketch(b)) > 0.5


@given(st.floats(1e-6, 1e6))
def test_distance_does_not_depend_on_the_tokens_units(unit: float) -> None:
    def scaled(tokens: VisualTokens) -> Sketch:
        values = (tokens.values * unit).astype(np.float32)
        return Sketch.of("?", replace(tokens, values=values), SPACE)

    expected = distance(sketch(1), sketch(1, noise=0.1))
    found = distance(scaled(image(1)), scaled(noisy(image(1), 0.1)))
    assert found == pytest.approx(expected, rel=0.2)


def test_one_cell_that_changes_shows_as_much_as_all() -> None:
    tokens = image(3)
    values = tokens.values.copy()
    values[5] = -values[5]
    one = Sketch.of("?", replace(tokens, values=values), SPACE)
    everything = Sketch.of("?", replace(tokens, values=-tokens.values), SPACE)
    assert distance(sketch(3), one) > DISTANCE
    assert distance(sketch(3), one) <= distance(sketch(3), everything)


def test_a_picture_without_anything_has_a_sketch() -> None:
    blank = replace(image(), values=np.zeros_like(image().values))
    flat = Sketch.of("?", blank, SPACE)
    assert distance(flat, flat) == 0.0
    assert distance(flat, sketch()) > 1.0


@given(
    st.integers(1, 3), st.integers(1, 20), st.integers(1, 20), st.integers(1, 12), st.integers(0, 9)
)
def test_a_sketch_is_small_whatever_the_grid(
    frames: int, rows: int, cols: int, width: int, seed: int
) -> None:
    grid, ones = Grid(frames=frames, rows=rows, cols=cols), np.ones(width, np.float32)
    space = TokenSpace(
        digest="", grid=grid, low=-ones, high=ones, mean=0 * ones, precision=np.diag(ones)
    )
    rng = np.random.default_rng(seed)
    positions = np.flatnonzero(rng.random(grid.num_tokens) < 0.7).astype(np.int32)
    values = rng.normal(size=(len(positions), width)).astype(np.float32)
    made = Sketch.of("?", VisualTokens(values=values, positions=positions, grid=grid), space)
    assert made.cells.shape == (min(rows, SKETCH_SIDE) * min(cols, SKETCH_SIDE), SKETCH_CHANNELS)
    assert np.isfinite(made.cells).all()


def test_a_cell_is_the_mean_of_its_tokens() -> None:
    grid = Grid(frames=2, rows=2 * SKETCH_SIDE, cols=SKETCH_SIDE)
    fine = np.random.default_rng(0).normal(size=(SKETCH_SIDE**2, WIDTH)).astype(np.float32)
    rows = np.repeat(fine.reshape(SKETCH_SIDE, SKETCH_SIDE, WIDTH), 2, axis=0).reshape(-1, WIDTH)

    def of(values: np.ndarray, where: Grid) -> Sketch:
        positions = np.arange(where.num_tokens, dtype=np.int32)
        return Sketch.of("?", VisualTokens(values=values, positions=positions, grid=where), SPACE)

    pooled = of(np.concatenate([rows, rows]), grid)
    assert distance(pooled, of(fine, Grid(rows=SKETCH_SIDE, cols=SKETCH_SIDE))) < 1e-5


def test_the_sketch_is_the_same_on_every_machine() -> None:
    values = np.arange(16 * WIDTH, dtype=np.float32).reshape(16, WIDTH) % 7 - 3
    made = Sketch.of("?", replace(image(), values=values), SPACE)
    assert made.cells[5].tolist() == pytest.approx(
        [0.67, 0.134, 0.134, -0.268, 0.268, -0.134, 0.0, 0.402], abs=1e-3
    )
    assert made.question.hex() == "8a8de823d5ed3e12746a62ef169bcf37"


@given(st.lists(st.integers(0, 2 * MAX_SENT), max_size=3 * MAX_SENT))
def test_memory_is_bounded_and_the_oldest_goes_first(seeds: list[int]) -> None:
    sent = SentLately()
    for seed in seeds:
        sent.add(SKETCHES[seed], now_s=0.0)
    assert len(sent) == min(len(seeds), MAX_SENT)
    remembered = set(seeds[-MAX_SENT:])
    for seed in {*seeds, 0}:
        known = sent.has(SKETCHES[seed], nearer_than=1e-9, now_s=0.0)
        assert known is (seed in remembered)


SKETCHES = [sketch(seed) for seed in range(2 * MAX_SENT + 1)]


def test_all_that_is_remembered_fits_in_64_kilobytes() -> None:
    whole = Grid(rows=32, cols=32)
    tokens = VisualTokens(
        values=np.ones((1024, WIDTH), np.float32),
        positions=np.arange(1024, dtype=np.int32),
        grid=whole,
    )
    made = Sketch.of("?", tokens, SPACE)
    assert MAX_SENT * (made.cells.nbytes + len(made.question) + 8 + 8) <= 64_000


@given(st.floats(-3 * KEPT_S, 3 * KEPT_S))
def test_what_was_sent_is_forgotten_after_a_day_also_by_a_clock_set_back(later_s: float) -> None:
    sent = SentLately()
    sent.add(sketch(), now_s=1e9)
    known = sent.has(sketch(), nearer_than=0.1, now_s=1e9 + later_s)
    assert known is (abs((1e9 + later_s) - 1e9) < KEPT_S)


def test_only_nearer_pictures_under_the_same_question_are_repeats() -> None:
    sent, near = SentLately(), sketch(noise=0.01)
    sent.add(sketch(), now_s=0.0)
    apart = distance(sketch(), near)
    assert 0.0 < apart < DISTANCE
    assert not sent.has(near, nearer_than=apart, now_s=1.0)
    assert sent.has(near, nearer_than=1.01 * apart, now_s=1.0)
    assert not sent.has(sketch(question="and now?"), nearer_than=1.0, now_s=1.0)
    assert not sent.has(sketch(1), nearer_than=DISTANCE, now_s=1.0)


def test_a_still_scene_is_sent_once_a_question_and_a_changed_one_again() -> None:
    made = sampler(repeat_distance=DISTANCE)
    questions = ("what is it?", "which colour is it?")
    sent = [
        [ask(made, scene(noise=0.01, draw=draw), question) for question in questions]
        for draw in range(20)
    ]
    assert sent == [[True, True]] + 19 * [[False, False]]
    assert made.last.outcome is Outcome.REPEAT
    assert made.last.uncertainty is not None and made.last.uncertainty.uncertain
    n = made.counts
    assert (n.seen, n.uncertain, n.repeat, n.sent) == (40, 40, 38, 2)
    assert ask(made, scene(1))
    assert not ask(made, scene(noise=0.01))


def test_a_scene_that_changes_slowly_is_sent_again() -> None:
    made = sampler(repeat_distance=DISTANCE)
    other = scene(1).tokens.values
    moved = np.linspace(0.0, 1.0, 40)
    start = scene()
    sent = [
        ask(
            made,
            replace(
                start,
                tokens=replace(
                    start.tokens,
                    values=((1 - part) * start.tokens.values + part * other).astype(np.float32),
                ),
            ),
        )
        for part in moved
    ]
    assert sent[0] and not sent[1]
    assert 3 <= sum(sent) <= 20


def test_without_a_distance_all_is_sent_as_before() -> None:
    made = sampler(repeat_distance=0.0)
    assert [ask(made, scene()) for _ in range(3)] == [True, True, True]
    assert made.counts.repeat == 0


def test_audits_of_a_still_scene_are_not_sent_either() -> None:
    made = sampler(repeat_distance=DISTANCE, audit_rate=1.0)
    assert [ask(made, scene(entropy=0.1)) for _ in range(3)] == [True, False, False]
    assert made.last.audit and made.last.outcome is Outcome.REPEAT
    assert (made.counts.audit, made.counts.repeat, made.counts.sent) == (3, 2, 1)


def test_what_was_not_sent_is_no_repeat() -> None:
    made = sampler(repeat_distance=DISTANCE, max_sample_share=0.0)
    assert not ask(made, scene())
    assert not ask(made, scene())
    assert made.counts.repeat == 0


def test_a_sample_that_was_not_kept_may_be_sent_again() -> None:
    made = sampler(repeat_distance=DISTANCE)
    assert ask(made, scene(1)) and ask(made, scene())
    made.not_kept()
    assert ask(made, scene())
    assert not ask(made, scene(1))


def test_a_new_version_keeps_the_memory_and_a_new_policy_does_not() -> None:
    made = sampler(repeat_distance=DISTANCE)
    assert ask(made, scene())
    assert not ask(made, replace(scene(), version=4))
    made.set_policy(made.policy)
    assert not ask(made, scene())
    made.set_policy(replace(made.policy, token_share=1.0))
    assert ask(made, scene())


def test_a_scene_that_stands_for_days_is_sent_once_a_day() -> None:
    clock = FakeClock()
    made = sampler(repeat_distance=DISTANCE, clock=clock)
    sent = 0
    for _ in range(72):
        sent += ask(made, scene())
        clock.advance(3_600.0)
    assert sent == 3


def test_a_still_scene_leaves_the_share_to_others() -> None:
    """Its high scores do not raise the bar, and it counts as seen: sent <= share * seen holds."""
    made = sampler(repeat_distance=DISTANCE, max_sample_share=0.25)
    rng, sent = np.random.default_rng(4), []
    for n in range(1, 701):
        still = 100 < n <= 600
        entropy = 3.0 if still else 1.0 + float(rng.random())
        sent.append(ask(made, scene(0 if still else n, entropy=entropy)))
        assert sum(sent) <= 0.25 * n
    assert sum(sent[100:600]) == 1
    assert sum(sent[600:]) > 25  # more than the share: the quiet stretch saved credit
    counts = made.counts
    assert counts.seen == 700
    assert counts.uncertain == counts.held_back + counts.over_budget + counts.repeat + counts.sent


def test_tokens_of_another_space_are_refused_as_before() -> None:
    made, given = sampler(repeat_distance=DISTANCE), answer(2.0)
    narrow = replace(given.tokens, values=given.tokens.values[:, :4])
    outside = replace(given.tokens, positions=given.tokens.positions + 1)
    for tokens in (narrow, outside):
        assert not ask(made, replace(given, tokens=tokens))
        assert made.last.outcome is Outcome.INVALID
    assert "token space" in made.last_refusal


def test_same_seed_same_bytes_with_repeats() -> None:
    def run() -> list[bytes]:
        made = sampler(repeat_distance=DISTANCE, token_scorer="random", audit_rate=0.3)
        found = []
        for n in range(60):
            given = scene(n // 7, noise=0.01, draw=n, entropy=float(n % 3))
            sample = made.consider("?", given, cast(Runtime, Scripted()))
            found.append(b"" if sample is None else dump_sample(sample.sample))
        assert made.counts.repeat > 5
        return found

    assert run() == run()
