"""MoD's reading: the layers one by one, and in a MoD layer the gathered places only."""

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
from driftline_lab.recipes.packing import Packed
from driftline_lab.recipes.tiny.training import View
from driftline_shared.models.compression.methods.mod import (
    ModOptions,
    best_places,
    gate,
    layer_weights,
)


class ModReading:
    """A picture is one frame, so that every row of a batch gathers as many places."""

    def __init__(
        self, student: Student, options: ModOptions, weights: Mapping[str, Tensor]
    ) -> None:
        self._student = student
        self._options = options
        self._layers = options.chosen_layers(student.facts.num_layers)
        self.weights = {name: nn.Parameter(value.clone()) for name, value in weights.items()}
        self.modules = language_parts(student)

    def states(self, views: Sequence[View], rows: Rows) -> tuple[Packed, Tensor]:
        """See `Reading.states`."""
        seen = projected(self._student, views)
        packed = packed_rows(self._student, rows, seen.shape[1])
        language = self._student.model.model.language_model
        states = embedded(self._student, packed, seen)
        whole = torch.arange(states.shape[1]).expand(len(states), -1)
        for number, layer in enumerate(language.layers):
            if number not in self._layers:
                states = self._run(layer, states, packed, whole)
                continue
            places, gates = self._route(number, states, seen.shape[1])
            before = _gathered(states, places)
            change = self._run(layer, before, packed, places) - before
            index = places[:, :, None].expand(-1, -1, states.shape[2])
            states = states.scatter_add(1, index, gates[:, :, None] * change)
        return packed, language.norm(states)

    def _route(self, layer: int, states: Tensor, num_seen: int) -> tuple[Tensor, Tensor]:
        """Places (B, m) that the layer computes, rising, and their gates (B, m)."""
        router, bias = layer_weights(self.weights, layer)
        scores = states[:, 1 : 1 + num_seen] @ router
        best = best_places(scores, self._options.keep)
        behind = torch.arange(1 + num_seen, states.shape[1]).expand(len(states), -1)
        first = torch.zeros(len(states), 1, dtype=torch.long)
        passed = gate(scores.gather(1, best), bias, self._options.gate)
        gates = [passed.new_ones(first.shape), passed, passed.new_ones(behind.shape)]
        return torch.cat([first, 1 + best, behind], dim=1), torch.cat(gates, dim=1)

    def _run(self, layer: nn.Module, states: Tensor, packed: Packed, places: Tensor) -> Tensor:
        """One decoder layer over `places` (B, m) of the packed rows, `states` (B, m, D)."""
        positions = packed.position_ids.gather(1, places)
        batch = torch.arange(len(places))[:, None, None]
        mask = packed.mask[:, 0][batch, places[:, :, None], places[:, None, :]]
        rotary = self._student.model.model.language_model.rotary_emb(states, position_ids=positions)
        result: Tensor = layer(
            states,
            attention_mask=mask[:, None],
            position_ids=positions,
            position_embeddings=rotary,
            use_cache=False,
        )
        return result


def _gathered(states: Tensor, places: Tensor) -> Tensor:
    return states.gather(1, places[:, :, None].expand(-1, -1, states.shape[2]))
