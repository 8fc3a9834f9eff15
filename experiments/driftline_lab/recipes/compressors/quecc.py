"""QueCC's reading: windows of the picture compressed for each question, so a row a question.

The state of a question is the language model's own, read without a gradient in every step, since
the language model learns, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from driftline_lab.data.easyvqa import Part, image_ids, read_picture
from driftline_lab.recipes.compressors.reading import Rows, embedded, language_parts
from driftline_lab.recipes.compressors.student import Lessons, Student
from driftline_lab.recipes.packing import Packed, Segment, last_states, pack
from driftline_lab.recipes.tiny.language import NUM_VISUAL
from driftline_lab.recipes.tiny.tower import normalize_pixels
from driftline_lab.recipes.tiny.training import View
from driftline_shared.models.compression.methods.quecc import (
    QueccOptions,
    compress,
    middles,
    window_of,
)
from driftline_shared.models.compression.tower import LAYER_SHARES

_PICTURES_AT_ONCE = 128


class QueccReading:
    """Views must hold the tokens of `layered`; projector and language model learn with it."""

    def __init__(
        self, student: Student, options: QueccOptions, weights: Mapping[str, Tensor]
    ) -> None:
        self._student = student
        self._residual = options.residual
        self._places = middles(student.facts.grid, window_of(student.facts.grid, options.keep))
        self.weights = {name: nn.Parameter(value.clone()) for name, value in weights.items()}
        self.modules = [*language_parts(student), student.model.model.multi_modal_projector]

    def states(self, views: Sequence[View], rows: Rows) -> tuple[Packed, Tensor]:
        """See `Reading.states`; a row is one question, those of a view one behind the other."""
        segments = [segment for row in rows for segment in row]
        of_view = torch.tensor([number for number, row in enumerate(rows) for _ in row])
        tokens = np.stack([view.tokens[view.row] for view in views])
        values, layers = self._split(torch.from_numpy(tokens).float())
        made = compress(
            self.weights,
            self._student.facts.grid,
            values[of_view],
            layers[of_view],
            self._questions(segments),
            residual=self._residual,
        )
        packed = pack(
            [[segment] for segment in segments],
            np.tile(self._places.numpy(), (len(segments), 1)),
            num_visual=NUM_VISUAL,
            start_ids=(self._student.start_id,),
            pad_id=self._student.pad_id,
        )
        image = self._student.model.model.multi_modal_projector(made)
        language = self._student.model.model.language_model
        return packed, last_states(language, embedded(self._student, packed, image), packed)

    def _split(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tower tokens (B, V, D_v) and layers side by side (B, V, m D_v) of stored ones."""
        tower = self._student.model.config.vision_config
        by_depth = dict(
            zip(
                stored_depths(tower.num_hidden_layers),
                tokens.split(tower.hidden_size, dim=-1),
                strict=True,
            )
        )
        wanted = [by_depth[depth] for depth in read_depths(tower.num_hidden_layers)]
        return by_depth[tower.num_hidden_layers], torch.cat(wanted, dim=-1)

    @torch.no_grad()
    def _questions(self, segments: Sequence[Segment]) -> Tensor:
        """(R, D) last hidden state of each question alone, without its line break."""
        tokenizer = self._student.tokenizer
        texts = [tokenizer.decode(segment.question).removesuffix("\n") for segment in segments]
        number_of = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        ids = [tokenizer(text)["input_ids"] for text in number_of]
        ends = torch.tensor([len(each) - 1 for each in ids])
        rows = nn.utils.rnn.pad_sequence(
            [torch.tensor(each) for each in ids],
            batch_first=True,
            padding_value=self._student.pad_id,
        )
        # Padding stands behind, where a causal model does not look.
        hidden = self._student.model.model.language_model(
            input_ids=rows, use_cache=False
        ).last_hidden_state
        states: Tensor = hidden[torch.arange(len(ids)), ends]
        return states[torch.tensor([number_of[text] for text in texts])]


def read_depths(num_layers: int) -> list[int]:
    """Depths of the hidden states that QueCC reads, as the driver chooses them."""
    return [round(share * num_layers) for share in LAYER_SHARES]


def stored_depths(num_layers: int) -> list[int]:
    """Those and the tower's output, once each, rising."""
    return sorted({*read_depths(num_layers), num_layers})


def layered(student: Student, lessons: Lessons, work: Path) -> Lessons:
    """The same views with the hidden states of `stored_depths` side by side, fp16; cached below
    `work`.
    """
    return Lessons(
        train=_layered_views(student, lessons.train, Part.TRAIN, work),
        test=_layered_views(student, lessons.test, Part.TEST, work),
    )


def _layered_views(student: Student, views: list[View], part: Part, work: Path) -> list[View]:
    path = work / "layers" / f"{part}.safetensors"
    if path.exists():
        tokens = load_file(path)["tokens"]
    else:
        tokens = layer_tokens(student, [read_picture(i) for i in image_ids(part)])
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"tokens": tokens}, path)
    # Rows of cached tokens are in the order of the part's pictures, too.
    return [replace(view, tokens=tokens) for view in views]


@torch.no_grad()
def layer_tokens(
    student: Student,
    pictures: Sequence[NDArray[np.uint8]],
    dtype: torch.dtype = torch.float16,
) -> NDArray[Any]:
    """(N, V, C) hidden states of the tower at `stored_depths`, side by side."""
    tower, done = student.model.model.vision_tower, []
    for first in range(0, len(pictures), _PICTURES_AT_ONCE):
        pixels = normalize_pixels(np.stack(pictures[first : first + _PICTURES_AT_ONCE]))
        hidden = tower(pixels, output_hidden_states=True).hidden_states
        chosen = [hidden[depth] for depth in stored_depths(len(hidden) - 1)]
        done.append(torch.cat(chosen, dim=-1).to(dtype).numpy())
    return np.concatenate(done)
