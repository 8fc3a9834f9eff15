"""A concept of the OpenMoji task by its code point."""

from __future__ import annotations

from driftline_lab.data.openmoji.concepts import Concept, concepts


def concept_of(code: str) -> Concept:
    return next(concept for concept in concepts() if concept.code == code)
