"""Captions of the test sets: what greedy generation writes from all tokens, and its scores.

Accuracy needs no generating, see `twin.accuracy`; how near a wrong caption is can only be seen from
its words.
"""

from __future__ import annotations

from driftline_cloud.distill import teacher
from driftline_cloud.distill.settings import DistilSettings
from driftline_lab.data.openmoji.captions import CaptionScores, scores_of
from driftline_lab.data.openmoji.questions import CAPTION_QUESTION
from driftline_lab.experiments.material import Material
from driftline_lab.experiments.twin import example
from driftline_shared.callbacks import ignore
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.pair.pair import Pair

Captions = dict[str, CaptionScores]
"""By domain; a test set that asks for no caption is not in it."""


def captions(
    model: MultimodalModel, pair: Pair, material: Material, settings: DistilSettings
) -> Captions:
    """Scores of what `model`, student or teacher, writes for each test set's caption questions."""
    found: Captions = {}
    for name, rows in material.tests.items():
        asked = [row for row in rows if row.question == CAPTION_QUESTION]
        examples = [example(row.values, row.question, ()) for row in asked]
        said = teacher.answer(model, pair, examples, settings, ignore) if asked else []
        scores = scores_of(
            (row.question, row.truth, answer.text) for row, answer in zip(asked, said, strict=True)
        )
        if scores is not None:
            found[name] = scores
    return found
