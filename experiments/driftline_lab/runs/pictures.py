"""Pictures for a report: some sampled questions with the tokens that left the device."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from driftline_device.runtime.runtime import Question
from driftline_device.sources.dataset import DatasetSource
from driftline_lab.runs.cloud_state import Labelled
from driftline_lab.runs.device_events import Answered
from driftline_lab.runs.run import Picture
from driftline_shared.codec.tokens import check_tokens
from driftline_shared.tokens import TokenSpace

MOST_SIDE = 256
"""Pixels of a picture's longer side in a run folder."""


def choose_answers(answers: Sequence[Answered], *, each_domain: int) -> list[Answered]:
    """Answers that became samples: of every domain at most `each_domain`, evenly over its time."""
    domains: dict[str, list[Answered]] = {}
    for answer in answers:
        if answer.sample_id is not None:
            domains.setdefault(answer.row.domain, []).append(answer)
    chosen = []
    for found in domains.values():
        places = np.linspace(0, len(found) - 1, min(each_domain, len(found)))
        chosen += [found[int(place)] for place in places]
    return chosen


def draw_pictures(
    stream: Path,
    chosen: Sequence[Answered],
    samples: Mapping[bytes, Labelled],
    space: TokenSpace,
) -> dict[Picture, bytes]:
    """A picture of each chosen answer whose sample is there: what it was, and its PNG.

    `stream`: the JSONL file that the device answered from its first row on. Clips are left out.
    A chosen answer's number counts the rows that the device could read, and so does this.
    """
    wanted = {answer.row.n: answer for answer in chosen}
    questions = enumerate(islice(DatasetSource(stream), max(wanted, default=0)), start=1)
    found = {}
    for number, question in questions:
        answer = wanted.get(number)
        stored = samples.get(answer.sample_id or b"") if answer else None
        if answer is None or stored is None or question.image.ndim != 3:
            continue
        found[_picture(answer, question, stored, space)] = _png(question.image)
    return found


def _picture(answer: Answered, question: Question, stored: Labelled, space: TokenSpace) -> Picture:
    sample, row = stored.sample, answer.row
    kept = check_tokens(sample.tokens, space)
    return Picture(
        file=f"{row.n:06d}.png",
        question=question.text,
        answer=sample.answer,
        teacher=stored.teacher,
        rows=sample.tokens.grid.rows,
        cols=sample.tokens.grid.cols,
        kept=tuple(int(place) for place in kept),
        n=row.n,
        domain=row.domain,
        correct=row.correct,
        uncertainty=row.uncertainty,
        version=row.version,
        bytes=row.bytes,
    )


def _png(image: NDArray[np.uint8]) -> bytes:
    picture, out = Image.fromarray(image), io.BytesIO()
    picture.thumbnail((MOST_SIDE, MOST_SIDE))
    picture.save(out, format="PNG", optimize=True)
    return out.getvalue()
