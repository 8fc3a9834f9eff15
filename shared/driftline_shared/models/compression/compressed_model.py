"""A model with a compressor: the MultimodalModel protocol, each row through the driver.

Rows of a batch are read one after another, each by a compressor of its own, its padding cut off
first; so rows of any length may share a batch, and a row answers as it does alone.

Taught answers (`labels`) are read as decoding would have produced them: the compressor sees the
prompt alone, and the answer's tokens read the cache that is left of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline_shared.errors import ConfigError, PairError
from driftline_shared.models.compression.compressor import (
    Compression,
    LayerCount,
    ModelFacts,
    TokenCompressor,
)
from driftline_shared.models.compression.decoder import Decoder
from driftline_shared.models.compression.driver import Driver, Prefilled
from driftline_shared.models.compression.rows import NONE, Kind, TokenRow
from driftline_shared.models.families.base import FamilyModel, step_scores
from driftline_shared.models.multimodal import (
    EXTRA_PLACE,
    IGNORED,
    SEPARATOR_PLACE,
    TEXT_PLACE,
    Generated,
    LmBatch,
    LmOutput,
    OnToken,
)
from driftline_shared.tokens import Grid


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
class CompressedAnswers:
    """Greedy answers, and of each row what the compressor did."""

    generated: Generated
    rows: tuple[RowReport, ...]


class CompressedModel:
    """`base` with `compression`; its towers, projector, tokenizer and weights are `base`'s.

    Raises PairError where the driver cannot run the language model.
    """

    def __init__(self, base: FamilyModel, compression: Compression) -> None:
        self.base = base
        self.compression = compression
        self.driver = Driver(decoder=Decoder(base.language), name=compression.name)
        self.model: torch.nn.Module = base.model
        self.device: torch.device = base.device
        self.vocab_size: int = base.vocab_size
        self.grid: Grid = base.grid

    # -- what compression does not touch ---------------------------------------------------------

    @property
    def num_tokens(self) -> int:
        """V, the visual tokens of one image before compression."""
        return self.base.num_tokens

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """All tower tokens; see `MultimodalModel.encode`."""
        return self.base.encode(images)

    def project(self, tokens: Tensor) -> Tensor:
        """See `MultimodalModel.project`."""
        return self.base.project(tokens)

    def batch(
        self,
        projected: Tensor,
        positions: Tensor,
        questions: Sequence[str],
        answers: Sequence[Sequence[int]] | None = None,
    ) -> LmBatch:
        """See `MultimodalModel.batch`."""
        return self.base.batch(projected, positions, questions, answers)

    def answer_ids(self, text: str) -> list[int]:
        """Token ids of an answer, end token included."""
        return self.base.answer_ids(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens left out, stripped."""
        return self.base.decode(ids)

    # -- through the driver ----------------------------------------------------------------------

    def forward(self, batch: LmBatch, places: Tensor | None = None) -> LmOutput:
        """As `MultimodalModel.forward`; differentiable, in the compressor's weights, too.

        Only text, and what else survives all layers, has logits: raises ConfigError for `places`
        (all, where None) that were dropped. Padding gives zeros.
        """
        hidden = batch.inputs_embeds.new_zeros(batch.inputs_embeds.shape)
        hidden = torch.stack(
            [
                self._hidden(batch, number, None if places is None else places[number])
                for number in range(len(hidden))
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
            row, _, _ = self._row(batch, number)
            compressor = self.compression.row()
            prefilled = self.driver.prefill(compressor, row)
            said = self._say(compressor, prefilled, number, max_new_tokens, on_token)
            steps.append(said[0])
            scores.append(said[1])
            reports.append(_report(prefilled))
        end = float(self.base.end_ids()[0])
        padded = torch.nn.utils.rnn.pad_sequence
        generated = self.base.generated(
            padded(steps, batch_first=True, padding_value=end),
            padded(scores, batch_first=True),
        )
        return CompressedAnswers(generated=generated, rows=tuple(reports))

    def _say(
        self,
        compressor: TokenCompressor,
        prefilled: Prefilled,
        number: int,
        max_new_tokens: int,
        on_token: OnToken | None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens (n,) and their scores (n, 3) of one row."""
        ends = set(self.base.end_ids())
        hidden, said, scores = prefilled.last[None], [], []
        while True:
            token, score = step_scores(self.base.head(hidden))
            said.append(int(token))
            scores.append(score[0])
            if on_token is not None:
                on_token(number, list(said))
            if said[-1] in ends or len(said) >= max_new_tokens:
                break
            embeds = self.base.net.get_input_embeddings()(token)
            hidden = self.driver.extend(compressor, prefilled, embeds)
        return torch.tensor(said, device=self.device), torch.stack(scores)

    def _hidden(self, batch: LmBatch, number: int, asked: Tensor | None) -> Tensor:
        """(T, D) hidden states of one row of a batch, zeros where they are not known."""
        row, answer, places = self._row(batch, number)
        compressor = self.compression.row()
        prefilled = self.driver.prefill(compressor, row)
        read = prefilled.row
        assert read.origin is not None, "the driver numbers every row"
        known = read.origin != NONE
        at, states = places[read.origin[known]], read.states[known]
        if len(answer):
            behind = self.driver.extend(compressor, prefilled, answer)
            at = torch.cat([at, places[len(row) :]])
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

    def _row(self, batch: LmBatch, number: int) -> tuple[TokenRow, Tensor, Tensor]:
        """A row's prompt; embeddings (q, D) of its answer; and their places (t,) in the batch."""
        if batch.holds is None:
            raise PairError("the batch does not say what its places hold: make it with `batch`")
        if batch.extra or batch.position_ids.dim() != 2:
            raise PairError(
                "visual-token compression knows one axis of positions and no features for deeper "
                f"layers, a batch of this model has {batch.position_ids.dim() - 1} axes and "
                f"{sorted(batch.extra) or 'no extras'}: remove `compressor` from the configuration"
            )
        places = batch.attention_mask[number].nonzero()[:, 0]
        taught = (batch.labels[number, places] != IGNORED).nonzero()[:, 0]
        end = int(taught[0]) if len(taught) else len(places)
        prompt = places[:end]
        holds = batch.holds[number, prompt]
        kind = torch.full_like(holds, int(Kind.VISUAL))
        for place, what in (
            (TEXT_PLACE, Kind.TEXT),
            (SEPARATOR_PLACE, Kind.SEPARATOR),
            (EXTRA_PLACE, Kind.EXTRA),
        ):
            kind = kind.masked_fill(holds == place, int(what))
        row = TokenRow(
            states=batch.inputs_embeds[number, prompt],
            kind=kind,
            token=holds.clamp(min=NONE),
            positions=batch.position_ids[number, prompt][None],
            grid=self.grid,
        )
        return row, batch.inputs_embeds[number, places[end:]], places


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
        tower_width=_tower_width(model),
        grid=model.grid,
    )


def _tower_width(model: FamilyModel) -> int:
    """Channels of one tower token."""
    config = model.net.config
    layers = getattr(config, "vision_feature_layer", -1)
    return int(config.vision_config.hidden_size) * (1 if isinstance(layers, int) else len(layers))


def _report(prefilled: Prefilled) -> RowReport:
    return RowReport(
        survivors=prefilled.survivors.cpu().numpy().astype(np.int64),
        layers=tuple(prefilled.layers),
        prefix=tuple(prefilled.prefix),
    )
