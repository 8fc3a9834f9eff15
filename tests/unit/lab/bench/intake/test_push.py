"""What the bench of the intake sends, and what it makes of its runs."""

from __future__ import annotations

import pytest

from driftline_lab.bench.intake.push import Run, summary
from driftline_lab.bench.intake.quantiles import quantile
from driftline_lab.peers.material import Material
from driftline_lab.peers.pushing import batches_of
from driftline_proto.v1 import uplink_pb2
from driftline_shared.wire import load_sample


@pytest.fixture(scope="module")
def material() -> Material:
    return Material()


def test_samples_are_whole_and_their_ids_are_their_own(material: Material) -> None:
    samples = [*material.samples(300, seed=1), *material.samples(10, seed=2)]
    ids = [sample.id for sample in samples]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)  # as a device makes them: by time
    for sample in samples:
        assert load_sample(sample.body) == sample.sample
    assert {sample.sample.tokens.codec for sample in samples} == {"klt64"}


def test_another_codec_is_taken_at_its_word() -> None:
    (sample,) = Material(codec="int8").samples(1, seed=0)
    assert sample.sample.tokens.codec == "int8"


def test_batches_hold_all_samples_once(material: Material) -> None:
    bodies = [sample.body for sample in material.samples(10, seed=3)]
    batches = [uplink_pb2.EncodedBatch.FromString(one) for one in batches_of("d", "s", bodies, 4)]
    assert [len(batch.samples) for batch in batches] == [4, 4, 2]
    assert [body for batch in batches for body in batch.samples] == bodies
    assert {(batch.device_id, batch.token_space) for batch in batches} == {("d", "s")}


def test_a_ratio_is_of_runs_beside_each_other() -> None:
    def run(rate: float) -> Run:
        return Run(samples_per_s=rate, ack_s=(0.1, 0.2), cpu_s=1e-5)

    found = summary({"bare": [run(100), run(10), run(50)], "cloud": [run(50), run(20), run(20)]})
    assert (found["ratio"], found["ratio_min"], found["ratio_max"]) == (0.5, 0.4, 2.0)
    assert found["bare"]["samples_per_s"] == 50
    assert found["cloud"]["cpu_us_per_sample"] == pytest.approx(10)
    assert found["cloud"]["ack_ms_p99"] == pytest.approx(200)


def test_a_quantile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(1, 101)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1.0)) == (50, 99, 100)
    assert quantile([3.0], 0.01) == 3.0
