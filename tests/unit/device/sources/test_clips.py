"""Clips of a source's pictures: which are of one clip, and what a clip says about times."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import pytest
from PIL import Image
from structlog.testing import capture_logs

from driftline_device.runtime.runtime import Question
from driftline_device.sources.clips import ClipPlan, ClipSource

Row = tuple[float | None, int] | None


class Pictures:
    """Grey pictures of 6 x 8 at the times given; `closed` once its iterator is."""

    name = "yard.mp4"
    num_broken = 2

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.closed = False

    def __iter__(self) -> Generator[Question | None, None, None]:
        try:
            for number, row in enumerate(self.rows):
                if row is None:
                    yield None
                    continue
                at_s, grey = row
                place = f"yard.mp4@{number if at_s is None else at_s:.2f}s"
                image = np.full((6, 8, 3), grey, dtype=np.uint8)
                yield Question(image=image, text="what moves?", place=place, at_s=at_s)
        finally:
            self.closed = True


def plan(num: int = 3, **more: float) -> ClipPlan:
    return ClipPlan(num=num, height=6, width=8, **more)


def greys(source: ClipSource) -> list[list[int] | None]:
    return [None if clip is None else clip.image[:, 0, 0, 0].tolist() for clip in source]


def every_second(num: int) -> list[Row]:
    return [(float(i), i) for i in range(num)]


def test_a_clip_begins_where_the_last_one_ended_and_the_rest_is_none() -> None:
    source = ClipSource(Pictures(every_second(8)), plan())
    clips = list(source)
    assert [clip and clip.image.shape for clip in clips] == [(3, 6, 8, 3)] * 2
    assert [clip and clip.place for clip in clips] == [
        "yard.mp4@0.00s..2.00s",
        "yard.mp4@3.00s..5.00s",
    ]
    assert (source.name, source.num_broken) == ("yard.mp4", 2)


@pytest.mark.parametrize(
    ("every_s", "wanted"),
    [
        (1.0, [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 6]]),
        (2.0, [[0, 1, 2], [2, 3, 4], [4, 5, 6]]),
        (5.0, []),  # the second would begin at 5 s and end at 7
        (1.5, [[0, 1, 2], [2, 3, 4], [3, 4, 5]]),  # the fourth, at 4.5 s, has no third picture
    ],
)
def test_clips_slide_by_time(every_s: float, wanted: list[list[int]]) -> None:
    found = greys(ClipSource(Pictures(every_second(7)), plan(every_s=every_s)))
    assert found == (wanted or [[0, 1, 2]])


def test_pictures_without_times_are_a_frame_apart() -> None:
    rows: list[Row] = [(None, i) for i in range(7)]
    found = greys(ClipSource(Pictures(rows), plan(every_s=4.0, frame_s=2.0, max_gap_s=0.1)))
    assert found == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    found = greys(ClipSource(Pictures(rows), plan(every_s=2.0, frame_s=0.0)))
    assert found == [[0, 1, 2], [2, 3, 4], [4, 5, 6]], "every frame of a video: a second each"


def test_a_source_that_begins_again_begins_a_clip() -> None:
    rows: list[Row] = [(float(i % 5), i) for i in range(10)]
    found = greys(ClipSource(Pictures(rows), plan(every_s=2.0)))
    assert found == [[0, 1, 2], [2, 3, 4], [5, 6, 7], [7, 8, 9]]


def test_a_clip_shows_no_two_scenes() -> None:
    rows: list[Row] = [(0.0, 0), (1.0, 1), (13.0, 2), (14.0, 3), (24.9, 4), (25.9, 5)]
    source = ClipSource(Pictures(rows), plan(max_gap_s=10.0))
    with capture_logs() as told:
        assert greys(source) == [[2, 3, 4]]
    assert source.num_cut == 1
    assert [line["gap_s"] for line in told if line["event"] == "clip.begun_anew"] == [11.0]
    assert greys(ClipSource(Pictures(rows), plan())) == [[0, 1, 2], [3, 4, 5]], "any gap"


def test_none_is_handed_on_and_closing_lets_the_source_go() -> None:
    pictures = Pictures([(0.0, 0), None, (1.0, 1), (2.0, 2), None, (3.0, 3)])
    rows = iter(ClipSource(pictures, plan()))
    assert next(rows) is None
    clip = next(rows)
    assert clip is not None and clip.text == "what moves?"
    assert next(rows) is None
    rows.close()
    assert pictures.closed


def test_a_source_too_short_for_a_clip_says_so() -> None:
    with capture_logs() as told:
        assert list(ClipSource(Pictures(every_second(2)), plan())) == []
    (line,) = told
    assert (line["event"], line["num_pictures"], line["num_needed"]) == (
        "source.too_short_for_a_clip",
        2,
        3,
    )


def test_pictures_come_to_the_canvas_as_the_model_brings_them_there() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    wanted = Image.fromarray(picture).resize((8, 6), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(plan().fitted(picture), np.asarray(wanted))


def test_a_part_of_each_picture_is_looked_at() -> None:
    source = ClipSource(Pictures(every_second(3)), plan(), view=lambda image: image[:1] // 2 + 7)
    assert greys(source) == [[7, 7, 8]]
