"""tiny-video: deterministic, disjoint, balanced; motion, order and change need several frames."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from driftline_lab.data.tiny_video.clips import (
    NUM_FRAMES,
    Clip,
    Part,
    clips,
    read_clip,
    read_scene,
)
from driftline_lab.data.tiny_video.drawing import NOBODY
from driftline_lab.data.tiny_video.questions import (
    Kind,
    Question,
    all_answers,
    all_questions,
    questions_of,
)
from driftline_lab.data.tiny_video.scene import SIDE, Scene
from driftline_shared.errors import ConfigError

NUM_SCENES = 1_500


@cache
def scenes() -> tuple[Scene, ...]:
    return tuple(read_scene(Part.TRAIN, index) for index in range(NUM_SCENES))


@pytest.fixture(scope="module")
def drawn() -> list[Clip]:
    return [read_clip(Part.TEST, index) for index in range(20)]


def test_a_clip_is_the_same_each_time_and_another_for_another_seed_part_or_index() -> None:
    first = read_clip(Part.TEST, 3)
    again = read_clip(Part.TEST, 3)
    assert np.array_equal(first.frames, again.frames)
    assert first.questions == again.questions
    assert questions_of(read_scene(Part.TEST, 3)) == first.questions
    others = [
        read_clip(Part.TEST, 3, seed=1),
        read_clip(Part.VALIDATION, 3),
        read_clip(Part.TRAIN, 3),
        read_clip(Part.TEST, 4),
    ]
    assert all(not np.array_equal(first.frames, other.frames) for other in others)


def test_no_scene_is_in_two_parts() -> None:
    seen = [
        tuple(tuple(actor.centres[0]) for actor in read_scene(part, index).actors)
        for part in Part
        for index in range(300)
    ]
    assert len(set(seen)) == len(seen)


def test_examples_are_the_questions_of_clips_in_order() -> None:
    asked = clips(Part.VALIDATION, 25)
    assert len(asked) == 25
    rows = [
        (index, question.text, question.answer, question.kind)
        for index in range(asked[-1].index + 1)
        for question in read_clip(Part.VALIDATION, index).questions
    ][:25]
    assert [(e.index, e.question, e.answer, e.kind) for e in asked] == rows
    assert all(e.clip.shape == (NUM_FRAMES, SIDE, SIDE, 3) for e in asked)
    assert all(e.clip.dtype == np.uint8 for e in asked)


@pytest.mark.parametrize("num_frames", [8, 11, 32])
def test_clips_have_as_many_frames_as_are_asked_for(num_frames: int) -> None:
    for index in range(20):
        clip = read_clip(Part.TRAIN, index, num_frames=num_frames)
        assert len(clip.frames) == num_frames
        assert {q.kind for q in clip.questions} >= {Kind.MOTION, Kind.COUNT}


@pytest.mark.parametrize("num_frames", [7, 33])
def test_other_lengths_are_refused(num_frames: int) -> None:
    with pytest.raises(ConfigError, match="8 to 32 frames"):
        read_clip(Part.TRAIN, 0, num_frames=num_frames)


def test_only_what_moves_or_changes_differs_from_frame_to_frame(drawn: list[Clip]) -> None:
    for clip in drawn:
        still = (clip.owners == NOBODY).all(axis=0)
        assert still.mean() > 0.4
        steps = np.abs(np.diff(clip.frames.astype(int), axis=0))[:, still]
        # Sensor noise, and here and there the soft edge of a shape.
        assert np.median(steps) <= 2
        assert (steps > 10).mean() < 0.03


def test_owners_are_where_the_actors_colours_are(drawn: list[Clip]) -> None:
    for clip in drawn:
        for index, actor in enumerate(clip.scene.actors):
            seen = [bool((frame == index).any()) for frame in clip.owners]
            assert seen == [actor.seen(f) for f in range(NUM_FRAMES)]


def test_questions_and_answers_are_among_those_that_are_listed() -> None:
    asked = {question for scene in scenes() for question in questions_of(scene)}
    assert {question.text for question in asked} == set(all_questions())
    assert {question.answer for question in asked} == set(all_answers())


def test_no_question_is_asked_twice_of_a_clip() -> None:
    for scene in scenes():
        texts = [question.text for question in questions_of(scene)]
        assert len(set(texts)) == len(texts)


def test_answers_are_balanced() -> None:
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for scene in scenes():
        for question in questions_of(scene):
            fixed = question.kind in (Kind.ORDER, Kind.COUNT)
            answers[question.text if fixed else question.kind][question.answer] += 1
    assert len(answers) == 6
    assert sorted(map(len, answers.values())) == [3, 3, 4, 4, 4, 8]
    for group, counts in answers.items():
        even = sum(counts.values()) / len(counts)
        assert all(0.8 * even < number < 1.2 * even for number in counts.values()), group


def test_the_number_in_all_says_little_of_the_number_at_the_end() -> None:
    table = np.zeros((4, 4))
    for scene in scenes():
        table[len(scene.actors) - 2, scene.count(NUM_FRAMES - 1) - 1] += 1
    assert table.max(axis=1).sum() / table.sum() < 0.55


@pytest.mark.parametrize("frame", range(NUM_FRAMES))
@pytest.mark.parametrize("kind", [Kind.MOTION, Kind.ORDER, Kind.COLOUR])
def test_no_single_frame_suffices(kind: Kind, frame: int) -> None:
    """Whoever knows all that can be used of one frame answers few questions by it."""
    sight: dict[Kind, Callable[[Scene, Question, int], object]] = {
        Kind.MOTION: _place_of_the_mover,
        Kind.ORDER: _shapes_that_may_have_come,
        Kind.COLOUR: _colour_of_the_changer,
    }
    answers: dict[object, Counter[str]] = defaultdict(Counter)
    for scene in scenes():
        for question in questions_of(scene):
            if question.kind is kind:
                known = sight[kind](scene, question, frame)
                asked = "" if kind is Kind.MOTION else question.text
                answers[asked, known][question.answer] += 1
    best = sum(max(counts.values()) for counts in answers.values())
    share = best / sum(sum(counts.values()) for counts in answers.values())
    assert share < {Kind.MOTION: 0.4, Kind.ORDER: 0.75, Kind.COLOUR: 0.6}[kind]


def _place_of_the_mover(scene: Scene, question: Question, frame: int) -> object:
    colour = question.text.split()[-3]
    mover = next(a for a in scene.actors if a.direction and a.colours[0] == colour)
    return tuple((mover.centres[frame] // 22).astype(int))


def _shapes_that_may_have_come(scene: Scene, question: Question, frame: int) -> object:
    # More than a frame tells: which of the shapes in it appeared at all.
    return tuple(sorted(a.shape for a in scene.comers if a.seen(frame)))


def _colour_of_the_changer(scene: Scene, question: Question, frame: int) -> object:
    changer = next(a for a in scene.actors if a.turns)
    return changer.colour(frame)
