"""What is asked of a scene: motion, order, count and colour, each with a short answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from driftline_lab.data.tiny_video.scene import Role, Scene
from driftline_lab.drift.reworded import COLOURS, SHAPES

NUMBERS = ("zero", "one", "two", "three", "four", "five")


class Kind(StrEnum):
    """What a question is about."""

    MOTION = "motion"
    ORDER = "order"
    COUNT = "count"
    COLOUR = "colour"


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question about a clip, with its answer."""

    kind: Kind
    text: str
    answer: str


def questions_of(scene: Scene) -> tuple[Question, ...]:
    """All questions of a scene, kind by kind: two on count, and on what else it has to tell.

    A shape that changes its colour is one shape. One that is there from the start does not appear.
    """
    return (*_motion(scene), *_order(scene), *_count(scene), *_colour(scene))


def all_questions() -> list[str]:
    """Every question that can be asked."""
    fixed = [f"which shape appears {which}?" for which in ("first", "last")]
    fixed += ["how many shapes are there in all?", "how many shapes are there at the end?"]
    return fixed + [ask.format(c) for ask in (_MOVES, _BEFORE, _AFTER) for c in COLOURS]


def all_answers() -> list[str]:
    """Every answer that can be given."""
    return ["left", "right", "up", "down", *SHAPES, *NUMBERS[1:], *COLOURS]


_MOVES = "which way does the {} shape move?"
_BEFORE = "what color is the shape before it turns {}?"
_AFTER = "what color does the {} shape turn?"


def _motion(scene: Scene) -> list[Question]:
    return [
        Question(kind=Kind.MOTION, text=_MOVES.format(a.colours[0]), answer=a.direction)
        for a in scene.actors
        if a.direction is not None
    ]


def _order(scene: Scene) -> list[Question]:
    comers = scene.comers
    if len(comers) < 2:
        return []
    asked = (("first", comers[0]), ("last", comers[-1]))
    return [
        Question(kind=Kind.ORDER, text=f"which shape appears {which}?", answer=actor.shape)
        for which, actor in asked
    ]


def _count(scene: Scene) -> list[Question]:
    asked = (
        ("in all", len(scene.actors)),
        ("at the end", scene.count(scene.num_frames - 1)),
    )
    return [
        Question(kind=Kind.COUNT, text=f"how many shapes are there {how}?", answer=NUMBERS[number])
        for how, number in asked
    ]


def _colour(scene: Scene) -> list[Question]:
    asked = []
    for actor in scene.actors:
        if actor.role is Role.CHANGER:
            for old, new in zip(actor.colours, actor.colours[1:], strict=False):
                asked.append(Question(kind=Kind.COLOUR, text=_BEFORE.format(new), answer=old))
                asked.append(Question(kind=Kind.COLOUR, text=_AFTER.format(old), answer=new))
    return asked
