"""A made trace: samples that the cloud takes, the same for one seed, distinct as far as asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from driftline_cloud.intake.admission import check_content
from driftline_lab.recording.source import record_source
from driftline_lab.replay.reading import read_records
from driftline_shared.pair.pair import Pair
from driftline_shared.trace.reader import open_trace
from tests.fakes.cloud import GRID, WIDTH, bare_pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    found = bare_pair(tmp_path / "pair")
    tokens = np.random.default_rng(0).uniform(-1, 1, (3, GRID.num_tokens, WIDTH))
    save_file({"tokens": tokens.astype(np.float16)}, found.dir / "source.safetensors")
    rows = [f'{{"image": {n}, "question": "what is {n}?", "answer": "a"}}\n' for n in range(3)]
    (found.dir / "source.jsonl").write_text("".join(rows))
    return found


def test_samples_are_sound_paced_and_repeat_after_so_many(tmp_path: Path, pair: Pair) -> None:
    manifest = record_source(tmp_path / "t", pair, count=9, seed=1, rate=4.0, distinct=4)
    assert manifest.num_rows == 9
    space = pair.token_space
    records = list(read_records(open_trace(tmp_path / "t").events(), space, with_tokens=False))
    assert [each.at_s for each in records] == [n / 4.0 for n in range(9)]
    samples = [each.sample.sample for each in records if each.sample is not None]
    for sample in samples:
        check_content(sample, space)
        assert sample.tokens.num_tokens == 8
    assert len({sample.id for sample in samples}) == 9
    assert len({(sample.question, sample.tokens.payload) for sample in samples}) == 4
    assert samples[0].tokens == samples[4].tokens == samples[8].tokens


def test_one_seed_gives_the_same_events_and_another_does_not(tmp_path: Path, pair: Pair) -> None:
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        record_source(tmp_path / name, pair, count=5, seed=seed, rate=2.0)
        found.append(list(open_trace(tmp_path / name).events()))
    assert found[0] == found[1] != found[2]
