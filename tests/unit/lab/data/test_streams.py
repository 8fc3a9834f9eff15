"""Streams of every world follow from their seed, and read back as they were written."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from driftline_lab.data import streams
from driftline_lab.data.boards import stream as boards
from driftline_lab.data.emoji.stream import emoji
from driftline_lab.data.openmoji import stream as openmoji
from driftline_lab.data.streams import Segment
from driftline_lab.data.worlds import WORLDS, World

STREAMS: dict[str, Any] = {
    "easyvqa": streams.stream,
    "openmoji": openmoji.stream,
    "emoji": lambda parts, seed: openmoji.stream(parts, seed=seed, drawn=emoji()),
    "boards": boards.stream,
}
TESTS = {
    "easyvqa": ["night"],
    "openmoji": ["lineart-seen", "lineart-unseen"],
    "emoji": ["twemoji-seen", "twemoji-unseen"],
    "boards": ["ada"],
}


@pytest.fixture(params=WORLDS.values(), ids=WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    world: World = request.param
    return world


def test_a_stream_repeats_for_its_seed_and_differs_for_another(world: World) -> None:
    parts = [Segment(domain=name, num_questions=30) for name in world.domains[:3]]
    first, again, other = (list(STREAMS[world.name](parts, seed=seed)) for seed in (3, 3, 4))
    assert first == again != other
    assert Counter(event.domain for event in first) == dict.fromkeys(world.domains[:3], 30)


def test_a_written_stream_reads_back(world: World, tmp_path: Path) -> None:
    parts = [Segment(domain=name, num_questions=6) for name in world.domains[:2]]
    world.write(tmp_path, parts, seed=1, num_test=5)
    rows, tests, source = (
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("stream", "test", "source_test")
    )
    for row, event in zip(rows, STREAMS[world.name](parts, seed=1), strict=True):
        assert (row["question"], row["answer"]) == (event.question, event.answer)
        assert row["domain"] == event.domain
        written = np.asarray(Image.open(tmp_path / row["image"]).convert("RGB"))
        np.testing.assert_array_equal(written, event.picture())
    assert Counter(row["domain"] for row in tests) == dict.fromkeys(TESTS[world.name], 5)
    assert [row["domain"] for row in source] == ["source"] * 5
