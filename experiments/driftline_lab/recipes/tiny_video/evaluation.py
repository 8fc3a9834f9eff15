"""Accuracy by kind of question: of the shipped model, and of models that see less of a clip.

Greedy decoding spells the wanted answer exactly when, along the wanted answer, every most likely
next token is the wanted one; one pass tells that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch
from transformers import LlavaOnevisionForConditionalGeneration

from driftline_lab.data.tiny_video.clips import Example
from driftline_lab.data.tiny_video.questions import Kind
from driftline_lab.recipes.packing import IGNORE
from driftline_lab.recipes.tiny.questions import Encoder
from driftline_lab.recipes.tiny_video.clip_cache import CachedClips
from driftline_lab.recipes.tiny_video.training import read_rows, rows_of
from driftline_shared.models.multimodal import MultimodalModel, answer_places

ALL = "all"
Accuracies = dict[str, float]
"""{kind of question or `ALL`: share answered exactly, 0..1}; `ALL` counts every question alike."""


def accuracy(model: MultimodalModel, asked: Sequence[Example]) -> Accuracies:
    """Through the public interface, from all visual tokens; questions of one clip side by side."""
    found = []
    for _, group in groupby(asked, key=lambda example: example.index):
        rows = list(group)
        with torch.inference_mode():
            seen = model.project(model.encode([rows[0].clip]))
            answers = [model.answer_ids(row.answer) for row in rows]
            batch = model.batch(
                seen.expand(len(rows), -1, -1),
                torch.arange(model.num_tokens).expand(len(rows), -1),
                [row.question for row in rows],
                answers,
            )
            guessed = model.forward(batch, answer_places(batch)).logits.argmax(-1).tolist()
        for row, answer in zip(rows, answers, strict=True):
            found.append((row.kind, guessed[: len(answer)] == answer))
            del guessed[: len(answer)]
    return by_kind(found)


def packed_accuracy(
    model: LlavaOnevisionForConditionalGeneration,
    clips: CachedClips,
    encoder: Encoder,
    batch_size: int = 16,
) -> Accuracies:
    """From cached tokens of the frames that `clips` reads."""
    found = []
    unlabelled = replace(clips, labels={})
    for first in range(0, len(clips.questions), batch_size):
        chosen = list(range(len(clips.questions)))[first : first + batch_size]
        asked = [
            [encoder.segment(question.text, question.answer) for question in clips.questions[i]]
            for i in chosen
        ]
        rows = rows_of(unlabelled, chosen, asked, encoder)
        with torch.inference_mode():
            guessed = model.lm_head(read_rows(model, rows)[0]).argmax(-1)
        wrong = (guessed != rows.packed.labels) & (rows.packed.labels != IGNORE)
        for index, missed, segments in zip(chosen, wrong, rows.packed.segments, strict=True):
            bad = set(segments[missed].tolist())
            for number, question in enumerate(clips.questions[index], start=1):
                found.append((question.kind, number not in bad))
    return by_kind(found)


def commonest(trained: CachedClips, tested: CachedClips) -> Accuracies:
    """Of whoever gives the commonest answer to each question's text, without any model."""
    counts: dict[str, dict[str, int]] = {}
    for question in (question for asked in trained.questions for question in asked):
        answers = counts.setdefault(question.text, {})
        answers[question.answer] = answers.get(question.answer, 0) + 1
    best = {text: max(answers, key=lambda a: answers[a]) for text, answers in counts.items()}
    return by_kind(
        (question.kind, best.get(question.text) == question.answer)
        for asked in tested.questions
        for question in asked
    )


def by_kind(found: Iterable[tuple[Kind, bool]]) -> Accuracies:
    """Shares of right answers; kinds that were not asked are left out."""
    rows = list(found)
    shares = {ALL: float(np.mean([right for _, right in rows]))}
    for kind in Kind:
        own = [right for asked, right in rows if asked is kind]
        if own:
            shares[str(kind)] = float(np.mean(own))
    return shares
