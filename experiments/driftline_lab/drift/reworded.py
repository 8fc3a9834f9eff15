"""Reworded: the same questions in other words; pictures and answers unchanged."""

from __future__ import annotations

import re

import numpy as np

SHAPES = ("circle", "rectangle", "triangle")
COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")

_WORD = re.compile(rf"\b({'|'.join(SHAPES + COLOURS)})\b")

_PRESENT = (
    "can you see {a} {x} anywhere?",
    "would you say that {a} {x} was drawn here?",
    "do we find {a} {x} in this picture?",
)
_ABSENT = (
    "would you say that the picture lacks {a} {x}?",
    "is it true that nobody drew {a} {x} here?",
    "is this picture free of any {x}?",
)
_COLOUR = (
    "name the paint used for the {x}.",
    "tell me how the {x} is tinted.",
    "which hue does the {x} have?",
)
_SHAPE = (
    "which geometric figure do you see?",
    "tell me the outline of the object.",
    "name the figure that was drawn.",
)
_SHAPE_OF = (
    "which geometric figure is painted {x}?",
    "tell me the outline of the {x} object.",
    "name the figure drawn in {x}.",
)


def reword(question: str, rng: np.random.Generator) -> str:
    """A synthetic rewording: one of three phrasings of the same question, chosen by `rng`."""
    templates, word = _read(question)
    template = templates[rng.integers(len(templates))]
    return template.format(a="an" if word[:1] in "aeiou" else "a", x=word)


def all_phrasings() -> list[str]:
    """Every sentence `reword` can give: what a tokenizer that knows ordinary words has seen."""
    sentences = list(_SHAPE)
    for colour in COLOURS:
        sentences += [t.format(x=colour) for t in _SHAPE_OF]
    for word in (*SHAPES, "figure"):
        sentences += [t.format(x=word) for t in _COLOUR]
    for word in (*SHAPES, *(f"{c} object" for c in COLOURS)):
        sentences += [t.format(a="a", x=word) for t in _PRESENT + _ABSENT]
    return sentences


def _read(question: str) -> tuple[tuple[str, ...], str]:
    """The phrasings that fit `question`, and the word to put in."""
    found = _WORD.search(question)
    word = found.group(1) if found else ""
    if question.startswith("what"):
        if "color" in question:
            return _COLOUR, word or "figure"
        return (_SHAPE_OF, word) if word else (_SHAPE, "")
    thing = f"{word} object" if word in COLOURS else word
    absent = " not " in question or question.startswith("is no ")
    return (_ABSENT if absent else _PRESENT), thing
