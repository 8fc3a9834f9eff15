"""Whether a model answers as given examples do, and how likely it holds their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from driftline_cloud.distill import passes
from driftline_cloud.distill.examples import Example, by_size
from driftline_cloud.distill.settings import DistilSettings
from driftline_shared.callbacks import Progress, ignore
from driftline_shared.models.multimodal import MultimodalModel

CALIBRATION_BINS = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Over a set, example by example: `right` (n,) bool, whether the answer is greedily given
    exactly; `probability` (n,) float64, its tokens' geometric mean probability; `confidence` (n,)
    float64, the same of the answer the model would give itself, as far as it goes along with the
    example's and one token further; and whether every logit was `finite`."""

    right: NDArray[np.bool_]
    probability: NDArray[np.float64]
    confidence: NDArray[np.float64]
    finite: bool

    @property
    def share(self) -> float:
        """Of right answers; 0 of an empty set."""
        return float(self.right.mean()) if len(self.right) else 0.0

    @property
    def calibration_error(self) -> float:
        """How far `confidence` is from the share of right answers, see `calibration_error`."""
        return calibration_error(self.confidence, self.right)


@torch.no_grad()
def agree(
    model: MultimodalModel,
    examples: Sequence[Example],
    settings: DistilSettings,
    progress: Progress = ignore,
) -> Agreement:
    """How well the model answers as the examples do, in one pass and without generating.

    Given the answer so far, the greedy next token must be the answer's at every step; by induction
    that holds exactly when greedy generation writes the same tokens, the end token included.
    """
    right = np.zeros(len(examples), np.bool_)
    probability = np.zeros(len(examples), np.float64)
    confidence = np.zeros(len(examples), np.float64)
    finite, num_seen = True, 0
    for batch in by_size(examples, settings.label_batch_size):
        seen = passes.run(model, [examples[i] for i in batch])
        finite = finite and bool(torch.isfinite(seen.logits).all())
        hits = (seen.logits.argmax(dim=-1) == seen.labels).split(seen.lengths)
        logs = torch.log_softmax(seen.logits.double(), dim=-1)
        chosen = logs.gather(1, seen.labels[:, None])[:, 0].split(seen.lengths)
        right[batch] = [bool(row.all()) for row in hits]
        probability[batch] = [float(row.mean().exp()) for row in chosen]
        largest = logs.max(dim=-1).values.split(seen.lengths)
        confidence[batch] = [
            float(row[: own_steps(hit)].mean().exp())
            for row, hit in zip(largest, hits, strict=True)
        ]
        num_seen += len(batch)
        progress(num_seen / len(examples))
    return Agreement(right=right, probability=probability, confidence=confidence, finite=finite)


def own_steps(hits: Tensor) -> int:
    """Steps of an answer whose largest probability is the model's own: up to the first miss."""
    missed = (~hits).nonzero()
    return len(hits) if len(missed) == 0 else int(missed[0]) + 1


def calibration_error(
    confidence: ArrayLike, right: ArrayLike, *, bins: int = CALIBRATION_BINS
) -> float:
    """ECE: sum over bins of equal width of (share of answers) x |accuracy - mean confidence|.

    Guo et al., arXiv 1706.04599. 0 of no answers.
    """
    sure, truth = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    places = np.minimum((sure * bins).astype(int), bins - 1)
    total = 0.0
    for place in np.unique(places):
        mine = places == place
        total += mine.mean() * abs(truth[mine].mean() - sure[mine].mean())
    return float(total)
