"""The uplink's baselines are settings of the real sampler: what it then sends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from driftline_device.runtime.runtime import Answer
from driftline_device.sampling.sampler import Sampler
from driftline_lab.baselines.baseline import Baseline
from driftline_lab.baselines.uplink.full_upload import FULL_UPLOAD
from driftline_lab.baselines.uplink.magnitude_tokens import MAGNITUDE_TOKENS
from driftline_lab.baselines.uplink.random_samples import RANDOM_SAMPLES
from driftline_lab.baselines.uplink.random_tokens import RANDOM_TOKENS
from driftline_shared.codec.tokens import decode_tokens
from driftline_shared.tokens import Grid, Sample, SamplingPolicy, TokenSpace, VisualTokens
from tests.fakes.clock import FakeClock
from tests.fakes.runtime import FakeRuntime

GRID = Grid(rows=4, cols=4)
WIDTH = 8
SPACE = TokenSpace(
    digest="00",
    grid=GRID,
    low=np.full(WIDTH, -4.0, np.float32),
    high=np.full(WIDTH, 4.0, np.float32),
    mean=np.zeros(WIDTH, np.float32),
    precision=np.eye(WIDTH, dtype=np.float32),
)
CALIBRATION = {"entropy": np.linspace(0, 0.01, 100)}


def sent_by(
    baseline: Baseline, entropies: Sequence[float], *, share: float = 1.0
) -> list[tuple[int, Sample]]:
    """(index of the answer, its sample) of everything that leaves."""
    rng = np.random.default_rng(0)
    policy = SamplingPolicy(
        max_sample_share=share, token_share=0.25, token_scorer="magnitude", audit_rate=0.0
    )
    ids = iter(range(1 << 20))
    sampler = Sampler(
        space=SPACE,
        calibration=CALIBRATION,
        policy=baseline.policy(policy),
        rng=np.random.default_rng(1),
        new_id=lambda: next(ids).to_bytes(16, "big"),
        clock=FakeClock(),
    )
    found = []
    for index, entropy in enumerate(entropies):
        tokens = VisualTokens(
            values=rng.normal(size=(16, WIDTH)).astype(np.float32),
            positions=np.arange(16, dtype=np.int32),
            grid=GRID,
        )
        answer = Answer(
            text="x", tokens=tokens, scores={"entropy": entropy}, num_steps=1, version=0
        )
        sample = sampler.consider("what?", answer, FakeRuntime())
        if sample is not None:
            found.append((index, sample.sample))
            ALL_TOKENS[index] = tokens
    return found


ALL_TOKENS: dict[int, VisualTokens] = {}


def test_full_upload_sends_every_token() -> None:
    samples = sent_by(FULL_UPLOAD, [0.5] * 20)
    assert len(samples) > 10
    assert {sample.tokens.num_tokens for _, sample in samples} == {16}


def test_magnitude_sends_the_largest_norms() -> None:
    for index, sample in sent_by(MAGNITUDE_TOKENS, [0.5] * 10):
        norms = np.square(ALL_TOKENS[index].values).sum(axis=1)
        kept = decode_tokens(sample.tokens, SPACE).positions
        assert sorted(kept) == sorted(np.argsort(-norms)[:4])


def test_random_tokens_are_not_the_largest() -> None:
    counts = np.zeros(16)
    for index, sample in sent_by(RANDOM_TOKENS, [0.5] * 200):
        order = np.argsort(-np.square(ALL_TOKENS[index].values).sum(axis=1))
        kept = decode_tokens(sample.tokens, SPACE).positions
        counts[[int(np.flatnonzero(order == place)[0]) for place in kept]] += 1
    shares = counts / counts.sum() * 4
    # Every rank of norm leaves in a quarter of the samples, within 5 standard deviations.
    assert np.all(np.abs(shares - 0.25) < 5 * (0.25 * 0.75 / 150) ** 0.5)


def test_random_samples_do_not_look_at_the_answer() -> None:
    entropies = np.tile([0.0, 0.9], 2_000)
    indices = [index for index, _ in sent_by(RANDOM_SAMPLES, list(entropies), share=0.2)]
    share = len(indices) / len(entropies)
    assert 0.15 < share <= 0.2
    unsure = np.mean([entropies[index] > 0.5 for index in indices])
    assert abs(unsure - 0.5) < 5 * (0.25 / len(indices)) ** 0.5
