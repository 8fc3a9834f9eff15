"""A compressor beside an export's graphs: what it makes of rows before they are read, in numpy.

The methods are those that torch runs, file for file; here they are given numpy arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.left import Reading, sendable
from driftline_device.runtime.onnx.prompts import Batch, Row
from driftline_device.runtime.runtime import UploadFrom
from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressor import (
    Compression,
    ModelFacts,
    TokenCompressor,
)
from driftline_shared.models.compression.portable import PORTABLE, checked_portable
from driftline_shared.models.compression.rows.rows import NONE, Kind, TokenRow
from driftline_shared.pair.export_file import Export
from driftline_shared.program.compressor import CompressorChoice
from driftline_shared.tokens import VisualTokens

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Narrowed:
    """One row on its way through the graphs: what is left of its prompt, and what is read of it."""

    row: TokenRow
    batch: Batch

    @property
    def survivors(self) -> NDArray[np.int64]:
        """(k,) flat grid indices of the visual tokens that are left, rising."""
        return np.sort(self.row.token[self.row.visual])


@dataclass(frozen=True, kw_only=True)
class Compressing:
    """The method that pictures are read through, and which tokens may be sent then."""

    compression: Compression
    upload_from: UploadFrom

    def sent(self, tower: VisualTokens, narrowed: Narrowed) -> tuple[VisualTokens, VisualTokens]:
        """The tokens that may be sent, and those that the language model was given."""
        reading = Reading(tower=tower)
        tokens = sendable(reading, narrowed.survivors, self.upload_from)
        return tokens, reading.other_than(tokens) or tokens

    def before(
        self, compressor: TokenCompressor, row: Row, batch: Batch, kept: NDArray[np.integer]
    ) -> Narrowed:
        """What `compressor` leaves of a row before the first layer; `batch` holds this row alone,
        `kept` says which visual tokens it has.
        """
        num = row.num_prompt
        whole = self._tokens(row, batch, kept)
        left = compressor.on_embeds(whole)
        answer = batch.positions[:, 0, num:]
        positions = np.concatenate([left.positions, answer], axis=1)
        embeds = np.concatenate([left.states, batch.embeds[0, num:]])
        return Narrowed(
            row=left,
            batch=replace(
                batch,
                embeds=embeds[None],
                positions=positions[:, None],
                lengths=np.asarray([len(embeds)]),
            ),
        )

    def _tokens(self, row: Row, batch: Batch, kept: NDArray[np.integer]) -> TokenRow:
        num = row.num_prompt
        kind = np.full(num, int(Kind.TEXT), dtype=np.int64)
        kind[row.image_from : row.text_from] = int(Kind.SEPARATOR)
        kind[row.visual] = int(Kind.VISUAL)
        token = np.full(num, NONE, dtype=np.int64)
        token[row.visual] = kept
        return TokenRow(
            states=batch.embeds[0, :num],
            kind=kind,
            token=token,
            positions=batch.positions[:, 0, :num],
            grid=self.compression.facts.grid,
            origin=np.arange(num),
        )


def compressing(export: Export, choice: CompressorChoice, upload_from: UploadFrom) -> Compressing:
    """The method of `choice` for an export. Raises ConfigError for a wrong name or option, and for
    what the graphs cannot do.
    """
    options = checked_portable(choice)
    kind = PORTABLE[choice.name].compressor
    reason = ""
    if len(export.layout.axes) > 1:
        reason = f"counts positions on {len(export.layout.axes)} axes, and compressors know one"
    elif kind.has("rows_before", "on_layer", "on_input", "route", "on_decode"):
        reason = "is not cut at the layers where it drops tokens"
    elif kind.has("on_frames", "on_block", "on_vision"):
        reason = "has a tower that does not show what it reads"
    if reason:
        raise ConfigError(
            f"compressor is {choice.name!r}, but this export {reason}: leave `compressor` empty, "
            'take another method, or use runtime = "torch" with the pair itself'
        )
    compression = Compression(name=choice.name, kind=kind, options=options, facts=facts_of(export))
    return Compressing(compression=compression, upload_from=upload_from)


def facts_of(export: Export) -> ModelFacts:
    """What methods may know about the student; widths that no method computes with are 0."""
    model = export.model
    return ModelFacts(
        num_layers=model.num_layers,
        num_heads=model.num_heads,
        num_key_heads=model.num_key_heads,
        head_width=model.head_width,
        width=model.width,
        inner=0,
        vocabulary=model.vocabulary,
        tower_width=model.tower_width,
        grid=export.token_grid,
    )
