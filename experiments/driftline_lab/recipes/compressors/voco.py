"""VoCo's reading: learned tokens behind the picture, and questions that do not see the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from driftline_lab.recipes.compressors.reading import (
    Rows,
    embedded,
    language_parts,
    packed_rows,
    projected,
)
from driftline_lab.recipes.compressors.student import Student
from driftline_lab.recipes.packing import Packed, last_states
from driftline_lab.recipes.tiny.training import View
from driftline_shared.models.compression.methods.voco import EMBEDDINGS, attention_rule
from driftline_shared.models.compression.rows.rows import Kind


class VocoReading:
    """One pass under the mask of `attention_rule`; all C learned tokens of `weights`."""

    def __init__(self, student: Student, weights: Mapping[str, Tensor]) -> None:
        self._student = student
        self.weights = {name: nn.Parameter(value.clone()) for name, value in weights.items()}
        self.modules = language_parts(student)

    def states(self, views: Sequence[View], rows: Rows) -> tuple[Packed, Tensor]:
        """See `Reading.states`; the picture takes V + C places."""
        seen, learned = projected(self._student, views), self.weights[EMBEDDINGS]
        num_seen, num_learned = seen.shape[1], len(learned)
        image = torch.cat([seen, learned.expand(len(views), -1, -1)], dim=1)
        packed = packed_rows(self._student, rows, num_seen + num_learned)
        kind = torch.full_like(packed.segments, int(Kind.TEXT))
        kind[:, 1 : 1 + num_seen] = int(Kind.VISUAL)
        kind[:, 1 + num_seen : 1 + num_seen + num_learned] = int(Kind.EXTRA)
        mask = packed.mask & attention_rule(kind)[:, None]
        embeds = embedded(self._student, packed, image)
        return packed, last_states(self._student.model.model.language_model, embeds, packed, mask)
