"""The sampler end to end on a scripted runtime: what is sent, what is counted, what repeats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, pairwise
from typing import cast

import numpy as np
import pytest

from driftline_device.runtime.runtime import Answer, Runtime
from driftline_device.sampling.sampler import BATCH_BYTES, ImagePermission, Sampler
from driftline_proto.v1 import uplink_pb2
from driftline_shared.codec.regions import RegionSettings, compose
from driftline_shared.codec.tokens import check_tokens, decode_tokens
from driftline_shared.errors import ConfigError, LinkError, PairError
from driftline_shared.tokens import (
    MAX_TEXT_CHARS,
    RegionLayout,
    Sample,
    SamplingPolicy,
    VisualTokens,
)
from driftline_shared.wire import dump_sample, to_sample
from tests.fakes.clock import FakeClock
from tests.fakes.pictures import draw_picture
from tests.unit.device.sampling.test_selector import GRID, SPACE, WIDTH

CALIBRATION = {kind: np.linspace(0, 1, 100) for kind in ("entropy", "mutual_information", "ood")}

EVERYTHING: dict[str, object] = {
    "max_sample_share": 1.0, "audit_rate": 0.0, "repeat_distance": 0.0
}  # fmt: skip


class Scripted:
    """A runtime whose scores are set by the test; it counts what it is asked."""

    def __init__(self) -> None:
        self.passes = 0
        self.scored: list[str] = []

    def mutual_information(self, question: str, answer: Answer, *, passes: int, seed: int) -> float:
        self.passes += passes
        return 5.0

    def score_tokens(
        self, scorer: str, question: str, answer: Answer, *, passes: int, seed: int
    ) -> np.ndarray:
        self.scored.append(scorer)
        return np.arange(answer.tokens.num_tokens, dtype=np.float32)


def ids() -> Iterator[bytes]:
    return (number.to_bytes(16, "big") for number in count())


def sampler(
    state: dict[str, object] | None = None,
    seed: int = 0,
    images: ImagePermission | None = None,
    clock: FakeClock | None = None,
    noise: float = 0.0,
    **changes: object,
) -> Sampler:
    made = ids()
    policy = SamplingPolicy(
        **(EVERYTHING | changes)  # type: ignore[arg-type]
    )
    return Sampler(
        space=SPACE,
        calibration=CALIBRATION,
        policy=policy,
        rng=np.random.default_rng(seed),
        new_id=lambda: next(made),
        clock=clock or FakeClock(),
        images=images,
        token_noise=noise,
        state=state,
    )


def answer(entropy: float, seed: int = 0, text: str = "yes") -> Answer:
    values = np.random.default_rng(seed).normal(size=(16, WIDTH)).astype(np.float32)
    positions = np.arange(16, dtype=np.int32)
    return Answer(
        text=text,
        tokens=VisualTokens(values=values, positions=positions, grid=GRID),
        scores={"entropy": entropy, "margin": 0.2},
        num_steps=2,
        version=3,
    )


def consider(
    made: Sampler, given: Answer, runtime: Scripted | None = None, image: np.ndarray | None = None
) -> Sample | None:
    found = made.consider("what is it?", given, cast(Runtime, runtime or Scripted()), image)
    assert found is None or found.body == dump_sample(found.sample)
    return None if found is None else found.sample


def sample_bytes(sample: Sample) -> int:
    """What the budget counts."""
    return len(dump_sample(sample)) + BATCH_BYTES


def test_an_uncertain_answer_leaves_as_its_best_tokens() -> None:
    made, runtime = sampler(token_share=0.25), Scripted()
    sample = consider(made, answer(2.0), runtime)
    assert sample is not None
    assert decode_tokens(sample.tokens, SPACE).positions.tolist() == [12, 13, 14, 15]
    assert (sample.question, sample.answer, sample.adapter_version) == ("what is it?", "yes", 3)
    assert sample.scores == {"entropy": 2.0, "margin": 0.2}
    assert sample.priority == pytest.approx(1 - 1 / 101)
    assert sample.created_unix_s == 1_700_000_000
    assert not sample.audit
    assert made.statistics()["sent"] == 1


def test_each_sample_has_its_own_number_of_tokens_by_mass() -> None:
    def flat_or_peaked(flat: bool) -> int:
        runtime = Scripted()
        scores = np.ones(16, np.float32)
        scores[5] = 1.0 if flat else 50.0
        runtime.score_tokens = lambda *_, **__: scores  # type: ignore[method-assign,assignment]
        sent = consider(sampler(token_mass=0.4, token_share=0.75), answer(2.0), runtime)
        assert sent is not None
        return sent.tokens.num_tokens

    assert (flat_or_peaked(True), flat_or_peaked(False)) == (8, 1)


def test_a_share_of_the_tokens_is_drawn_evenly_and_repeats() -> None:
    def kept(**changes: object) -> list[int]:
        sent = consider(sampler(token_share=0.5, **changes), answer(2.0))
        assert sent is not None
        return decode_tokens(sent.tokens, SPACE).positions.tolist()

    # The scripted scores rise with the position.
    assert kept() == list(range(8, 16))
    mixed = kept(token_spread=0.5)
    assert mixed == kept(token_spread=0.5)
    assert len(mixed) == 8
    assert mixed[-4:] == [12, 13, 14, 15]
    assert mixed[0] < 3 and all(b - a <= 5 for a, b in pairwise(mixed))


def test_a_confident_answer_stays_and_costs_no_pass() -> None:
    made, runtime = sampler(), Scripted()
    assert consider(made, answer(0.5), runtime) is None
    assert (runtime.passes, runtime.scored) == (0, [])
    assert made.statistics() == {
        "seen": 1, "uncertain": 0, "audit": 0, "held_back": 0, "repeat": 0, "over_budget": 0,
        "invalid": 0, "sent": 0, "with_regions": 0, "taught": 0, "escalated": 0,
    }  # fmt: skip


def test_what_the_owner_says_goes_whatever_the_gate_says_and_shifts_no_other_sample() -> None:
    alone, taught = sampler(), sampler()
    sent = taught.teach("what?", answer(0.1), Scripted(), owner_answer="two")
    assert sent is not None and sent.sample.owner_answer == "two"
    assert (taught.counts.taught, taught.counts.sent, taught.counts.seen) == (1, 0, 0)
    after = [consider(each, answer(2.0), Scripted()) for each in (alone, taught)]
    first, second = [each.tokens for each in after if each is not None]
    assert first == second


def test_the_days_bytes_bound_what_the_owner_sends_too() -> None:
    made = sampler(day_bytes=1)
    assert made.teach("what?", answer(0.1), Scripted(), owner_answer="two") is None
    assert made.counts.taught == 0


def test_the_gate_score_asked_for_is_computed_and_recorded() -> None:
    runtime = Scripted()
    sample = consider(sampler(gate_score="mutual_information"), answer(0.0), runtime)
    assert sample is not None
    assert sample.scores["mutual_information"] == 5.0
    assert runtime.passes == 4
    shifted = answer(0.0)
    shifted.tokens.values[:] += 3.0
    sample = consider(sampler(gate_score="ood"), shifted, runtime)
    assert sample is not None
    assert sample.scores["ood"] > 2.5


def test_the_audit_picks_confident_answers_at_its_rate() -> None:
    made = sampler(audit_rate=0.1)
    audits = [sample for i in range(1_000) if (sample := consider(made, answer(0.5, i)))]
    assert 70 < len(audits) < 130
    assert all(sample.audit for sample in audits)
    assert made.counts.audit == made.counts.sent == len(audits)


def test_audits_count_against_the_share() -> None:
    made = sampler(audit_rate=1.0, max_sample_share=0.1)
    sent = 0
    for seen in range(1, 301):
        sent += consider(made, answer(0.5, seen)) is not None
        assert sent <= 0.1 * seen
    assert sent >= 28
    assert made.counts.over_budget == 300 - sent


def test_under_the_share_the_most_uncertain_are_sent() -> None:
    made, rng = sampler(max_sample_share=0.2), np.random.default_rng(5)
    scores = rng.random(1_500) + 1.0  # every one of them passes the gate
    sent = [i for i, s in enumerate(scores) if consider(made, answer(float(s), i)) is not None]
    assert 0.17 * 1_500 < len(sent) <= 0.2 * 1_500
    assert np.mean(scores[sent] >= np.quantile(scores, 0.75)) > 0.9
    assert made.counts.held_back + made.counts.over_budget + made.counts.sent == 1_500


def test_every_answer_is_counted_once() -> None:
    made, rng = sampler(max_sample_share=0.3, audit_rate=0.05), np.random.default_rng(7)
    for i in range(400):
        consider(made, answer(float(rng.random() * 2 if i % 9 else np.nan), i))
    n = made.counts
    assert n.seen == 400
    assert n.invalid == 45
    assert n.uncertain + n.audit == n.held_back + n.over_budget + n.sent
    assert min(n.held_back, n.sent, n.audit) > 0


def test_the_day_budget_counts_whole_samples_and_survives_a_restart() -> None:
    size = sample_bytes(consider(sampler(), answer(2.0)))  # type: ignore[arg-type]
    made = sampler(day_bytes=2 * size + 40)
    assert [consider(made, answer(2.0)) is not None for _ in range(4)] == [True, True, False, False]
    assert made.counts.over_budget == 2
    state = json.loads(json.dumps(made.state()))
    assert consider(sampler(state, day_bytes=2 * size + 40), answer(2.0)) is None


def test_a_byte_limit_on_samples_keeps_fewer_tokens() -> None:
    small = consider(sampler(sample_bytes=40, token_share=1.0), answer(2.0))
    assert small is not None
    assert 0 < len(small.tokens.payload) <= 40
    assert small.tokens.num_tokens < 16
    made = sampler(sample_bytes=2)
    assert consider(made, answer(2.0)) is None
    assert made.counts.over_budget == 1


def test_what_no_cloud_would_take_is_not_sent() -> None:
    made = sampler()
    broken = answer(2.0)
    broken.tokens.values[3, 2] = np.nan
    assert consider(made, broken) is None
    assert consider(made, answer(float("nan"))) is None
    assert consider(made, answer(2.0, text="x" * (MAX_TEXT_CHARS + 1))) is None
    assert made.consider("", answer(2.0), cast(Runtime, Scripted())) is None
    assert made.counts.invalid == 4


def test_tokens_of_another_space_are_refused_with_a_reason() -> None:
    made = sampler()
    other = answer(2.0)
    narrow = VisualTokens(
        values=other.tokens.values[:, :4], positions=other.tokens.positions, grid=GRID
    )
    assert consider(made, replace(other, tokens=narrow)) is None
    assert made.counts.invalid == 1
    assert "token space" in made.last_refusal


def test_the_bytes_counted_are_the_bytes_on_the_wire() -> None:
    sample = consider(sampler(), answer(2.0))
    assert sample is not None
    batch = uplink_pb2.SampleBatch(samples=[to_sample(sample)])
    assert len(batch.SerializeToString()) <= sample_bytes(sample)
    assert sample_bytes(sample) <= len(batch.SerializeToString()) + 8


def test_same_seed_same_samples() -> None:
    rng = np.random.default_rng(2)
    stream = [answer(float(rng.random() * 1.5), i) for i in range(200)]
    runs = []
    for _ in range(2):
        made = sampler(seed=9, audit_rate=0.05, token_scorer="random", max_sample_share=0.4)
        runs.append([sample for given in stream if (sample := consider(made, given))])
    assert runs[0] == runs[1]
    assert len(runs[0]) > 20


def test_a_policy_that_cannot_be_obeyed_leaves_the_old_one_in_force() -> None:
    made = sampler()
    old = made.policy
    for wrong, error in (
        ({"gate_score": "confidence"}, ConfigError),
        ({"gate_score": "margin"}, PairError),  # this pair ships no calibration for it
        ({"token_scorer": "attention"}, ConfigError),
        ({"token_codec": "jpeg"}, ConfigError),
        ({"token_share": 0.0}, LinkError),
        ({"audit_rate": 2.0}, LinkError),
        ({"max_sample_share": -1.0}, LinkError),
        ({"sample_bytes": -1}, LinkError),
    ):
        with pytest.raises(error):
            made.set_policy(SamplingPolicy(**wrong))  # type: ignore[arg-type]
        assert made.policy is old
    assert consider(made, answer(2.0)) is not None


def test_a_new_policy_keeps_the_bytes_already_spent() -> None:
    size = sample_bytes(consider(sampler(), answer(2.0)))  # type: ignore[arg-type]
    made = sampler(day_bytes=size + 10)
    assert consider(made, answer(2.0)) is not None
    made.set_policy(
        SamplingPolicy(revision=2, day_bytes=size + 10, max_sample_share=1.0, gate_score="ood")
    )
    shifted = answer(0.0)
    shifted.tokens.values[:] += 3.0
    assert consider(made, shifted) is None
    assert made.counts.over_budget == 1


# -- images --------------------------------------------------------------------------------------

PICTURE = draw_picture(0, 160, 160)
SMALL = RegionSettings(thumbnail_side=24)
ALLOWED = ImagePermission(may_leave=True, regions=SMALL)


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("asked", [False, True])
def test_regions_leave_only_where_owner_and_policy_agree(allowed: bool, asked: bool) -> None:
    images = ImagePermission(may_leave=allowed, regions=SMALL)
    made = sampler(images=images, images_may_leave=asked, token_share=0.25)
    sample = consider(made, answer(2.0), image=PICTURE)
    assert sample is not None
    assert (sample.regions is not None) is (allowed and asked) is made.images_leave
    assert made.images_refused is (asked and not allowed)
    assert made.counts.with_regions == int(allowed and asked)


def test_without_the_owner_nothing_leaves_whatever_policies_come() -> None:
    made = sampler()
    made.set_policy(SamplingPolicy(images_may_leave=True, max_sample_share=1.0))
    sample = consider(made, answer(2.0), image=PICTURE)
    assert sample is not None and sample.regions is None


def test_a_policy_begins_and_ends_it() -> None:
    made = sampler(images=ALLOWED)
    for asked in (False, True, False):
        made.set_policy(
            SamplingPolicy(images_may_leave=asked, max_sample_share=1.0, token_share=0.25)
        )
        sample = consider(made, answer(2.0), image=PICTURE)
        assert sample is not None and (sample.regions is not None) is asked


def test_regions_show_the_cells_of_the_kept_tokens() -> None:
    made = sampler(images=ALLOWED, images_may_leave=True, token_share=0.25)
    sample = consider(made, answer(2.0), image=PICTURE)
    assert sample is not None and sample.regions is not None
    assert sample.regions.layout is RegionLayout.MOSAIC
    assert check_tokens(sample.tokens, SPACE).tolist() == [12, 13, 14, 15]
    back = compose(sample.regions, check_tokens(sample.tokens, SPACE), GRID).astype(int)
    error = np.abs(back - PICTURE).mean(axis=(1, 2))
    assert error[120:].mean() < 0.6 * error[:120].mean()  # the last row of the grid


def test_the_pairs_canvas_is_what_leaves() -> None:
    images = replace(ALLOWED, canvas=(64, 48))
    sample = consider(sampler(images=images, images_may_leave=True), answer(2.0), image=PICTURE)
    assert sample is not None and sample.regions is not None
    assert (sample.regions.height, sample.regions.width) == (64, 48)


def test_regions_come_out_of_the_samples_bytes() -> None:
    options: dict[str, object] = {"images": ALLOWED, "images_may_leave": True, "token_share": 0.5}
    free = consider(sampler(**options), answer(2.0), image=PICTURE)  # type: ignore[arg-type]
    assert free is not None and free.regions is not None
    limit = len(free.tokens.payload) + free.regions.num_bytes - 200
    tight = consider(
        sampler(sample_bytes=limit, **options),  # type: ignore[arg-type]
        answer(2.0),
        image=PICTURE,
    )
    assert tight is not None and tight.regions is not None
    assert len(tight.tokens.payload) + tight.regions.num_bytes <= limit
    assert 4 <= tight.tokens.num_tokens < 8 == free.tokens.num_tokens


def test_regions_cost_at_most_half_of_the_tokens() -> None:
    for limit in (20, 100, 400, 700, 1_000, 1_500, 2_500):
        options = {"sample_bytes": limit, "token_share": 1.0, "images_may_leave": True}
        with_image = consider(sampler(images=ALLOWED, **options), answer(2.0), image=PICTURE)  # type: ignore[arg-type]
        alone = consider(sampler(**options), answer(2.0))  # type: ignore[arg-type]
        assert with_image is not None and alone is not None
        if with_image.regions is None:
            assert with_image.tokens == alone.tokens
        else:
            assert 2 * with_image.tokens.num_tokens >= alone.tokens.num_tokens


def test_the_day_budget_counts_the_bytes_of_regions() -> None:
    options: dict[str, object] = {"images": ALLOWED, "images_may_leave": True}
    sample = consider(sampler(**options), answer(2.0), image=PICTURE)  # type: ignore[arg-type]
    assert sample is not None and sample.regions is not None
    assert sample_bytes(sample) > sample.regions.num_bytes
    made = sampler(day_bytes=sample_bytes(sample) + 100, **options)  # type: ignore[arg-type]
    assert consider(made, answer(2.0), image=PICTURE) is not None
    assert consider(made, answer(2.0), image=PICTURE) is None
    assert made.counts.over_budget == 1


@pytest.mark.parametrize(
    "image", [None, np.zeros((2, 64, 64, 3), dtype=np.uint8), np.zeros((3, 64, 3), dtype=np.uint8)]
)
def test_what_has_no_regions_leaves_as_tokens(image: np.ndarray | None) -> None:
    made = sampler(images=ALLOWED, images_may_leave=True)
    sample = consider(made, answer(2.0), image=image)
    assert sample is not None and sample.regions is None
    assert (made.counts.sent, made.counts.with_regions, made.counts.invalid) == (1, 0, 0)


def test_same_seed_same_bytes_with_regions() -> None:
    runs = []
    for _ in range(2):
        made = sampler(images=ALLOWED, images_may_leave=True, token_scorer="random")
        runs.append(
            [consider(made, answer(2.0, i), image=draw_picture(i, 120, 120)) for i in range(5)]
        )
    assert runs[0] == runs[1]
    assert all(sample is not None and sample.regions is not None for sample in runs[0])


def test_noise_changes_the_tokens_that_leave_and_nothing_else() -> None:
    plain, noised = (sampler(token_share=0.25, noise=noise) for noise in (0.0, 0.1))
    for number in range(8):
        one, other = (consider(made, answer(2.0, seed=number)) for made in (plain, noised))
        assert one is not None and other is not None
        assert replace(one, tokens=other.tokens) == other
        kept, moved = (decode_tokens(each.tokens, SPACE) for each in (one, other))
        assert kept.positions.tolist() == moved.positions.tolist()
        away = (moved.values - kept.values) / (SPACE.high - SPACE.low)
        assert 0.05 < float(np.sqrt(np.square(away).mean())) < 0.2
