"""A model with a compressor: the MultimodalModel protocol, each row through the driver.

Rows of a batch are read one after another, each by a compressor of its own, its padding cut off
first; so rows of any length may share a batch, and a row answers as it does alone.

Taught answers (`labels`) are read as decoding would have produced them: the compressor sees the
prompt alone, and the answer's tokens read the cache that is left of it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline_shared.callbacks import OnToken, finished_text, ignore
from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.batches import LookedBatch, joined, with_extra
from driftline_shared.models.compression.compressor import (
    Compression,
    LayerCount,
    ModelFacts,
    TokenCompressor,
)
from driftline_shared.models.compression.decoder import Decoder
from driftline_shared.models.compression.driver import Driver, Prefilled
from driftline_shared.models.compression.rows.batch import row_of
from driftline_shared.models.compression.rows.rows import NONE
from driftline_shared.models.compression.tower import Look, check_tower, look, tower_facts
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.multimodal import Generated, LmBatch, LmOutput, WrappedModel
from driftline_shared.models.steps import step_scores


@dataclass(frozen=True, kw_only=True)
class RowReport:
    """What was done to one row.

    `survivors` (k,) int64 rising flat grid indices: visual tokens that the deepest layer holding
    any still held. `layers`: counts of prefill and of the last decoding step as they were run;
    of a method with a prefix, of its second pass, and `prefix` those of the first.
    """

    survivors: NDArray[np.int64]
    layers: tuple[LayerCount, ...]
    prefix: tuple[LayerCount, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Looked:
    """Pictures as the compressor looked at them: rows to read, and what is left of each picture."""

    batch: LookedBatch
    looks: tuple[Look, ...]


@dataclass(frozen=True, kw_only=True)
class CompressedAnswers:
    """Greedy answers, and of each row what the compressor did."""

    generated: Generated
    rows: tuple[RowReport, ...]


class CompressedModel(WrappedModel):
    """`base` with `compression`; its towers, projector, tokenizer and weights are `base`'s.

    Raises PairError where the driver cannot run the language model, ConfigError where the tower
    cannot say what the method needs.
    """

    def __init__(self, base: FamilyModel, compression: Compression) -> None:
        super().__init__(base)
        check_tower(base, compression.row())
        self.base = base
        self.compression = compression
        self.driver = Driver(decoder=Decoder(base.language), name=compression.name)
        self.after_prompt: Callable[[], None] = ignore
        """Called when a row of `compressed_generate` has been read and before it is answered."""

    def look(
        self,
        images: Sequence[NDArray[np.uint8]],
        questions: Sequence[str],
        answers: Sequence[Sequence[int]] | None = None,
    ) -> Looked:
        """`encode`, `project` and `batch` in one, with the compressor's hooks before the projector.

        The only way for methods that have any (`looks`); the same as the three for others. Raises
        ConfigError for a method that needs what the tower or family does not have.
        """
        rows, looks, compressors = [], [], []
        for number, (image, question) in enumerate(zip(images, questions, strict=True)):
            compressor = self.compression.row()
            seen = look(self.base, compressor, image, question)
            row = self.base.batch(
                self.base.project(seen.tokens.values[None]),
                seen.tokens.token[None],
                [question],
                None if answers is None else [answers[number]],
            )
            if seen.extra is not None:
                row = with_extra(row, self.base.project(seen.extra[None])[0])
            rows.append(row)
            looks.append(seen)
            compressors.append(compressor)
        batch = joined(rows, compressors, left=answers is None)
        return Looked(batch=batch, looks=tuple(looks))

    @property
    def looks(self) -> bool:
        """Whether the method does anything before the projector."""
        return self.compression.kind.works_in_tower()

    # -- through the driver -----------------------------------------------------------------------

    def forward(self, batch: LmBatch, places: Tensor | None = None) -> LmOutput:
        """As `MultimodalModel.forward`; differentiable, in the compressor's weights, too.

        Only text, and what else survives all layers, has logits: raises ConfigError for `places`
        (all, where None) that were dropped. Padding gives zeros.
        """
        hidden = torch.stack(
            [
                self._hidden(batch, number, None if places is None else places[number])
                for number in range(len(batch.inputs_embeds))
            ]
        )
        chosen = hidden if places is None else hidden[places.to(hidden.device)]
        return LmOutput(logits=self.base.head(chosen), hidden=chosen)

    def generate(
        self, batch: LmBatch, max_new_tokens: int, on_token: OnToken | None = None
    ) -> Generated:
        """Greedy answers with the probabilities of every step."""
        return self.compressed_generate(batch, max_new_tokens, on_token).generated

    @torch.no_grad()
    def compressed_generate(
        self, batch: LmBatch, max_new_tokens: int, on_token: OnToken | None = None
    ) -> CompressedAnswers:
        """As `generate`, and what was done to each row."""
        steps, scores, reports = [], [], []
        for number in range(len(batch.inputs_embeds)):
            row = row_of(batch, number, self.grid).prompt
            compressor = self._compressor(batch, number)
            prefilled = self.driver.prefill(compressor, row)
            self.after_prompt()
            ids, score = self._decode_one(compressor, prefilled, number, max_new_tokens, on_token)
            steps.append(ids)
            scores.append(score)
            reports.append(
                RowReport(
                    survivors=prefilled.survivors.cpu().numpy().astype(np.int64),
                    layers=tuple(prefilled.layers),
                    prefix=tuple(prefilled.prefix),
                )
            )
        end = float(self.base.end_ids()[0])
        padded = torch.nn.utils.rnn.pad_sequence
        generated = self.base.generated(
            padded(steps, batch_first=True, padding_value=end),
            padded(scores, batch_first=True),
        )
        return CompressedAnswers(generated=generated, rows=tuple(reports))

    def _decode_one(
        self,
        compressor: TokenCompressor,
        prefilled: Prefilled,
        number: int,
        max_new_tokens: int,
        on_token: OnToken | None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens (n,) and their scores (n, 3) of one row."""
        ends = set(self.base.end_ids())
        hidden, ids, scores = prefilled.last[None], [], []
        while True:
            token, score = step_scores(self.base.head(hidden))
            ids.append(int(token))
            scores.append(score[0])
            if on_token is not None:
                on_token(number, finished_text(self.decode(ids)))
            if ids[-1] in ends or len(ids) >= max_new_tokens:
                break
            embeds = self.base.net.get_input_embeddings()(token)
            hidden = self.driver.extend(compressor, prefilled, embeds)
        return torch.tensor(ids, device=self.device), torch.stack(scores)

    def _hidden(self, batch: LmBatch, number: int, asked: Tensor | None) -> Tensor:
        """(T, D) hidden states of one row of a batch, zeros where they are not known."""
        taught = row_of(batch, number, self.grid)
        places = taught.places
        compressor = self._compressor(batch, number)
        prefilled = self.driver.prefill(compressor, taught.prompt)
        read = prefilled.row
        assert read.origin is not None, "the driver numbers every row"
        known = read.origin != NONE
        at, states = places[read.origin[known]], read.states[known]
        if len(taught.answer):
            behind = self.driver.extend(compressor, prefilled, taught.answer)
            at = torch.cat([at, places[len(taught.prompt) :]])
            states = torch.cat([states, behind])
        wanted = places if asked is None else asked.to(places.device).nonzero()[:, 0]
        missing = wanted[~torch.isin(wanted, at)]
        if len(missing):
            raise ConfigError(
                f"compressor {self.compression.name} dropped place {int(missing[0])} of row "
                f"{number}: ask for places of text only, or of tokens that survive"
            )
        whole = states.new_zeros(batch.inputs_embeds.shape[1], states.shape[1])
        return whole.index_copy(0, at, states)

    def _compressor(self, batch: LmBatch, number: int) -> TokenCompressor:
        """The row's own, as it was when it had looked; a batch may be read more than once."""
        if isinstance(batch, LookedBatch):
            return copy.copy(batch.compressors[number])
        return self.compression.row()


def facts_of(model: FamilyModel) -> ModelFacts:
    """What methods may know about a model. Raises PairError as `Decoder` does."""
    config = Decoder(model.language).config
    heads = int(config.num_attention_heads)
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return ModelFacts(
        num_layers=int(config.num_hidden_layers),
        num_heads=heads,
        num_key_heads=int(config.num_key_value_heads),
        head_width=int(width),
        width=int(config.hidden_size),
        inner=int(config.intermediate_size),
        vocabulary=model.vocab_size,
        grid=model.grid,
        axes=len(model.layout().positions),
        **tower_facts(model),
    )
