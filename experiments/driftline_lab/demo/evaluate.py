"""Answers to held-out test sets: a device's runtime before and after, and the teacher.

Normalised exact match of generated answers (`driftline_shared.exact_match`). The teacher reads all
visual tokens, the device what its compressor leaves. Test images are never streamed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from driftline_device.runtime.runtime import Question, Runtime
from driftline_device.sources.dataset import DatasetSource
from driftline_lab.data.openmoji.captions import CaptionScores, scores_of
from driftline_shared.callbacks import Progress
from driftline_shared.errors import DataError
from driftline_shared.exact_match import is_correct
from driftline_shared.models.loading import load_teacher
from driftline_shared.pair.pair import Pair

BATCH = 64

Answers = dict[str, list[str]]
"""By domain: the text answered to each row of its test set."""


@dataclass(frozen=True, kw_only=True)
class TestSet:
    """The held-out questions of one domain, every one with its true answer."""

    # Not a test class, whatever pytest thinks of its name.
    __test__ = False

    domain: str
    rows: Sequence[Question]


def read_test_set(domain: str, path: Path) -> TestSet:
    """The rows of a JSONL file that have an answer; malformed rows are logged and left out.

    Raises DataError when nothing is left.
    """
    rows = [row for row in DatasetSource(path) if row.truth is not None]
    if not rows:
        raise DataError(f"{path} holds no row with an image, a question and an answer")
    return TestSet(domain=domain, rows=rows)


def accuracy(test: TestSet, answers: Sequence[str]) -> float:
    """Share of answers that say what is true."""
    rows = zip(test.rows, answers, strict=True)
    return sum(is_correct(text, row.truth or "") for row, text in rows) / len(test.rows)


def caption_scores(test: TestSet, answers: Sequence[str]) -> CaptionScores | None:
    """Scores of the answers to the caption question; None where the set does not ask it."""
    rows = zip(test.rows, answers, strict=True)
    return scores_of((row.text, row.truth or "", text) for row, text in rows)


def device_answers(runtime: Runtime, sets: Sequence[TestSet], progress: Progress) -> Answers:
    """What a device's runtime answers."""

    def answer(rows: Sequence[Question]) -> list[str]:
        return [answer.text for answer in runtime.answer(rows)]

    return _answers(sets, answer, progress)


def teacher_answers(pair: Pair, sets: Sequence[TestSet], progress: Progress) -> Answers:
    """What the teacher answers with all tokens."""
    model = load_teacher(pair)
    everywhere = torch.arange(model.num_tokens)

    def answer(rows: Sequence[Question]) -> list[str]:
        tokens = model.encode([row.image for row in rows])
        positions = everywhere.expand(len(rows), -1)
        with torch.inference_mode():
            batch = model.batch(model.project(tokens), positions, [row.text for row in rows])
            return model.generate(batch, pair.max_new_tokens).texts

    return _answers(sets, answer, progress)


def jpeg90_bytes(rows: Sequence[Question]) -> float:
    """Mean bytes of the images as JPEG of quality 90: what sending pictures would cost."""
    sizes = []
    for row in rows:
        out = io.BytesIO()
        Image.fromarray(row.image).save(out, format="JPEG", quality=90)
        sizes.append(out.tell())
    return sum(sizes) / len(sizes)


def _answers(
    sets: Sequence[TestSet],
    answer: Callable[[Sequence[Question]], list[str]],
    progress: Progress,
) -> Answers:
    answers: Answers = {each.domain: [] for each in sets}
    total, num_done = sum(len(each.rows) for each in sets), 0
    for each in sets:
        for start in range(0, len(each.rows), BATCH):
            rows = each.rows[start : start + BATCH]
            answers[each.domain] += answer(rows)
            num_done += len(rows)
            progress(num_done / total)
    return answers
