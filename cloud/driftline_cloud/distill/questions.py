"""Further questions: what a sample shows is in the cloud already, so more answers cost no uplink.

The teacher answers many, and of these the student learns from those that it would get wrong: as
hard examples are mined elsewhere (Shrivastava et al., arXiv 1604.03540), but for a teacher that
answers whatever it is asked, so that even one easy sample has something to teach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from driftline_cloud.distill.agreement import agree
from driftline_cloud.distill.examples import Example
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_cloud.distill.teacher import answer
from driftline_shared.callbacks import Progress, ignore
from driftline_shared.models.adapters import slots
from driftline_shared.update import Adapter


def ask_more(
    models: Models,
    examples: Sequence[Example],
    count: int,
    settings: DistilSettings,
    rng: np.random.Generator,
    progress: Progress = ignore,
) -> list[Example]:
    """The same tokens under `count` other questions each, answered by the teacher.

    The questions are those of the other samples, no two of a sample alike. Only answers that the
    teacher is at least as sure of as `settings.confidence_floor` are returned, so a sample may come
    back under fewer.
    """
    questions = [example.question for example in examples]
    asked, known = [], {(id(example.values), example.question) for example in examples}
    for _ in range(count):
        for example, other in zip(examples, rng.permutation(len(examples)), strict=True):
            question = questions[int(other)]
            if (id(example.values), question) not in known:
                known.add((id(example.values), question))
                asked.append(replace(example, question=question))
    answers = answer(models.teacher, models.pair, asked, settings, progress)
    return [
        replace(example, answer=one.tokens)
        for example, one in zip(asked, answers, strict=True)
        if one.confidence >= settings.confidence_floor and one.tokens
    ]


def hardest(
    models: Models,
    start: Adapter,
    examples: Sequence[Example],
    count: int,
    settings: DistilSettings,
    progress: Progress = ignore,
) -> list[Example]:
    """Of each sample's `examples` the `count` whose answer the student holds least likely.

    Likely by the geometric mean probability of the answer's tokens under the adapter `start`, which
    is left in the student. Samples are told apart by their tokens' array; the order is kept.
    """
    slots.write(models.student.model, start)
    likely = agree(models.student, examples, settings, progress).probability
    places: dict[int, list[int]] = {}
    for place, example in enumerate(examples):
        places.setdefault(id(example.values), []).append(place)
    kept = [
        place
        for mine in places.values()
        for place in sorted(mine, key=lambda place: likely[place])[:count]
    ]
    return [examples[place] for place in sorted(kept)]
