"""What a configuration's sources give a pair of clips, and what is refused at the start."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from structlog.testing import capture_logs

from driftline_device.config import DeviceConfig, load_config
from driftline_device.feeds.fair import FairFeeds
from driftline_device.program.sources import open_sources
from driftline_shared.errors import ConfigError
from driftline_shared.pair.pair import Canvas

CLIPS = Canvas(height=8, width=8, frames=3)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Seven pictures of 16 x 16, left half black, right half ever lighter."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(7):
        pixels = np.zeros((16, 16, 3), dtype=np.uint8)
        pixels[:, 8:] = 10 * number
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def config(**overrides: object) -> DeviceConfig:
    return load_config(overrides={"question": "what moves?", **overrides}, environment={})


def test_a_folder_of_pictures_gives_clips_to_a_pair_that_reads_them(photos: Path) -> None:
    given = config(**{"clip.every_s": 2.0, "frames.every_s": 1.0})
    (source,) = open_sources([str(photos)], given, CLIPS)
    clips = [clip for clip in source if clip is not None]
    assert [clip.image[:, 0, 7, 0].tolist() for clip in clips] == [
        [0, 10, 20],
        [20, 30, 40],
        [40, 50, 60],
    ]
    assert clips[0].image.shape == (3, 8, 8, 3) and clips[0].text == "what moves?"
    assert clips[0].place == f"{photos}/0.png..2.png"


def test_pictures_stay_pictures_for_other_pairs(photos: Path) -> None:
    for canvas in (None, Canvas(height=8, width=8)):
        (source,) = open_sources([str(photos)], config(), canvas)
        assert [row.image.shape for row in source if row is not None] == [(16, 16, 3)] * 7


def test_clips_for_a_pair_of_pictures_are_a_wrong_setting(photos: Path) -> None:
    with pytest.raises(ConfigError, match=r"clip.every_s is set, but the pair reads single") as got:
        open_sources([str(photos)], config(**{"clip.every_s": 2.0}), Canvas(height=8, width=8))
    assert "Leave it out" in got.value.fix


def test_a_feed_makes_clips_of_its_region(photos: Path) -> None:
    feeds = [{"name": "yard", "source": str(photos), "region": [0.5, 0.0, 0.5, 1.0]}]
    (source,) = open_sources([], config(feeds=feeds), CLIPS)
    assert isinstance(source, FairFeeds)
    clips = [clip for clip in source if clip is not None]
    assert [clip.image[:, 0, 0, 0].tolist() for clip in clips] == [[0, 10, 20], [30, 40, 50]]
    assert {(clip.feed, clip.image.shape) for clip in clips} == {("yard", (3, 8, 8, 3))}


def test_rows_of_a_data_set_name_the_pictures_of_their_clips(photos: Path) -> None:
    rows = [
        {"image": [f"{n}.png" for n in numbers], "question": "what?", "answer": "it"}
        for numbers in ([0, 3, 6], [1, 2], [1, 2, 9], [5, 4, 5])
    ]
    file = photos / "stream.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (source,) = open_sources([str(file)], config(), CLIPS)
    with capture_logs() as told:
        clips = [clip for clip in source if clip is not None]
    assert [clip.image[:, 0, 7, 0].tolist() for clip in clips] == [[0, 30, 60], [50, 40, 50]]
    assert [clip.truth for clip in clips] == ["it", "it"]
    assert source.num_broken == 2
    assert "stream.jsonl:2: 2 pictures are named, this pair reads clips of 3" in told[0]["error"]
    (plain,) = open_sources([str(file)], config(), None)
    with capture_logs() as told:
        assert list(plain) == []
    assert "this pair reads single ones" in told[0]["error"]
