"""A compressor beside an export's graphs: whether they have what it needs, and a prompt read
through it.

The methods are those that torch runs, file for file; here they are given numpy arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.left import Reading, sendable
from driftline_device.runtime.onnx.compression.narrowing import Narrowing, deep_inputs
from driftline_device.runtime.onnx.generation import LanguageModel, Masks, PromptRead, Recall
from driftline_device.runtime.onnx.graphs import ActiveAdapter, Graphs, part_of
from driftline_device.runtime.onnx.key_values import Floats
from driftline_device.runtime.onnx.prompts import Batch, Row
from driftline_device.runtime.runtime import UploadFrom
from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressor import (
    Compression,
    Frames,
    ModelFacts,
    TokenCompressor,
)
from driftline_shared.models.compression.portable import PORTABLE, checked_portable
from driftline_shared.models.compression.rows.rows import NONE, Kind, TokenRow, TowerTokens
from driftline_shared.pair.export_file import Export
from driftline_shared.pair.image_steps import pixels_of
from driftline_shared.pair.image_table import ImageTable
from driftline_shared.pair.tower_table import READS
from driftline_shared.program.compressor import CompressorChoice
from driftline_shared.tokens import VisualTokens


@dataclass(frozen=True, kw_only=True)
class Compressing:
    """The method that pictures are read through, which tokens may be sent then, and the `layers`
    before which it may drop some. `image`: how pictures become pixels. `place`: channels at the end
    of a token that say where it lies.
    """

    compression: Compression
    upload_from: UploadFrom
    image: ImageTable
    layers: tuple[int, ...] = ()
    place: int = 0

    @property
    def looks_into_layers(self) -> bool:
        """Whether the graphs `look` are wanted."""
        return bool(self.layers) and self.compression.kind.has("on_input")

    @property
    def recalls(self) -> bool:
        """Whether decoding reads a part of what the prompt has left."""
        return bool(self.layers) and self.compression.kind.has("on_decode")

    def added(self, graphs: Graphs, clip: NDArray[np.uint8]) -> Floats | None:
        """(m, D_v) tower tokens of the pictures that the method adds to a clip, each read as one of
        its frames; None without any.
        """
        frames = self.compression.row().on_frames(clip) if clip.ndim == 4 else Frames()
        if frames.kept is not None:
            raise ConfigError(
                f"compressor {self.compression.name} chooses among frames, and an export's tower "
                'reads all: take another method, or runtime = "torch" with the pair itself'
            )
        if frames.extra is None:
            return None
        grid = self.compression.facts.grid
        tokens = []
        for picture in frames.extra:
            # The tower reads clips of one length: the picture in each frame, of which one is kept.
            pixels = pixels_of(np.stack([picture] * grid.frames), self.image)
            read = graphs.run("tower", {"pixels": pixels[None]}, None)
            tokens.append(read[0, : grid.rows * grid.cols])
        return np.concatenate(tokens)

    def check(self, graphs: Graphs, cuts: Sequence[int]) -> None:
        """ConfigError where the graphs do not show what the method chooses by."""
        at = [cuts.index(layer) + 1 for layer in self.layers]
        if self.looks_into_layers and not all(graphs.has(part_of("look", n)) for n in at):
            raise ConfigError(
                f"compressor {self.compression.name} looks into layers, and this export is of an "
                f"earlier version and shows nothing of them: export the pair again with "
                f"{_flags(self.layers)}"
            )
        if self.recalls and any(
            f"query.{layer - 1}" not in graphs.outputs(part_of("lm", number - 1))
            for number, layer in zip(at, self.layers, strict=True)
        ):
            raise ConfigError(
                f"compressor {self.compression.name} chooses at each token what decoding reads, by "
                f"queries that the graphs {graphs.precision} of this export do not give: export "
                "the pair again, set another precision, or leave that stage out (prune = 0)"
            )

    @property
    def needs(self) -> frozenset[str]:
        """What it reads of the tower beside tokens."""
        return reads_of(self.compression.kind)

    def look(
        self, tower: VisualTokens, read: Mapping[str, Floats]
    ) -> tuple[TokenCompressor, Reading]:
        """A compressor for a picture of which the tower gave all tokens and `read`, and what it
        left of them before the projector.
        """
        compressor = self.compression.row()
        if not self.compression.kind.has("on_vision"):
            return compressor, Reading(tower=tower)
        end = tower.values.shape[1] - self.place
        left = compressor.on_vision(
            TowerTokens(
                values=tower.values[:, :end].astype(np.float32, copy=False),
                token=tower.positions.astype(np.int64),
                size=np.ones(tower.num_tokens, dtype=np.float32),
                grid=tower.grid,
                **read,
            ),
            None,
        )
        # A merged token stands at the place of its member.
        places = tower.values[left.token, end:]
        given = VisualTokens(
            values=np.concatenate([left.values, places], axis=1, dtype=np.float32),
            positions=left.token.astype(np.int32),
            grid=tower.grid,
        )
        return compressor, Reading(tower=tower if self.upload_from == "all" else given, read=given)

    def sent(self, reading: Reading, narrowing: Narrowing) -> tuple[VisualTokens, VisualTokens]:
        """The tokens that may be sent, and those that the language model was given."""
        tokens = sendable(reading, narrowing.survivors, self.upload_from)
        return tokens, reading.other_than(tokens) or tokens

    def read(
        self,
        language: LanguageModel,
        row: Row,
        batch: Batch,
        kept: NDArray[np.integer],
        adapter: ActiveAdapter,
        *,
        masks: Masks | None = None,
        added: Floats | None = None,
        compressor: TokenCompressor | None = None,
    ) -> tuple[PromptRead, Narrowing]:
        """Read a prompt through a compressor of its own, the one that has looked at its picture if
        any; `batch` holds this row alone, `kept` says which visual tokens it has. `added` (m, D):
        projected tokens of pictures that the method added, before the first visual one.
        """
        narrowing = Narrowing(
            compressor=compressor or self.compression.row(),
            look=lambda number, states, places: language.look(number, states, places, adapter),
        )
        whole = self._tokens(row, batch, kept)
        if added is not None:
            whole = whole.inserted(int(whole.visual[0]), added)
        left = narrowing.before(replace(whole, origin=np.arange(len(whole))))
        narrowed = replace(
            batch,
            embeds=left.states[None],
            positions=left.positions[:, None],
            lengths=np.asarray([len(left)]),
            deep=deep_inputs(left, 0),
        )
        queries = [f"query.{layer - 1}" for layer in self.layers]
        read = language.read(
            narrowed,
            adapter,
            also=queries,
            masks=masks,
            narrow=narrowing.between if self.layers else None,
        )
        if self.recalls:
            read = replace(read, recall=Recall(choose=narrowing.choose, outputs=queries))
        return read, narrowing

    def _tokens(self, row: Row, batch: Batch, kept: NDArray[np.integer]) -> TokenRow:
        kind = np.full(len(row.ids), int(Kind.TEXT), dtype=np.int64)
        kind[row.image_from : row.text_from] = int(Kind.SEPARATOR)
        kind[row.visual] = int(Kind.VISUAL)
        token = np.full(len(row.ids), NONE, dtype=np.int64)
        token[row.visual] = kept
        return TokenRow(
            states=batch.embeds[0],
            kind=kind,
            token=token,
            positions=batch.positions[:, 0],
            grid=self.compression.facts.grid,
            deep=_stacked(batch.deep),
        )


def _stacked(deep: Mapping[str, Floats]) -> Floats | None:
    """(m, n, D) what the first m layers add to a batch's one row."""
    layers = [deep[f"deep.{layer}"] for layer in range(len(deep))]
    return np.concatenate(layers) if layers else None


def compressing(export: Export, choice: CompressorChoice, upload_from: UploadFrom) -> Compressing:
    """The method of `choice` for an export. Raises ConfigError for a wrong name or option, and for
    what the graphs cannot do.
    """
    options = checked_portable(choice)
    kind = PORTABLE[choice.name].compressor
    compression = Compression(name=choice.name, kind=kind, options=options, facts=facts_of(export))
    layers = compression.cuts(export.model.num_visual_tokens)
    _check_tower(export, compression)
    reason = _cannot(export, layers) or _cannot_look(export, compression)
    if reason:
        raise ConfigError(
            f"compressor is {choice.name!r}, but this export {reason}: leave `compressor` empty, "
            'take another method, or use runtime = "torch" with the pair itself'
        )
    return Compressing(
        compression=compression,
        upload_from=upload_from,
        image=export.image,
        layers=layers,
        place=0 if export.tower is None else export.tower.place,
    )


def _cannot(export: Export, layers: Sequence[int]) -> str:
    """Why the language model's graphs cannot drop tokens before `layers`; "" where they can."""
    if not set(layers) <= set(export.model.cuts):
        at = _flags(layers)
        return (
            f"is not cut where it drops tokens (export the pair again with {at}, or correct the "
            "method's options)"
        )
    return ""


def _cannot_look(export: Export, compression: Compression) -> str:
    """Why the method cannot do its work in the tower; "" where it can, or has none there."""
    kind, tower = compression.kind, export.tower
    if compression.row().blocks == "required":
        return (
            'runs its tower as a whole (set compressor_options.where = "projector", which merges '
            "behind it)"
        )
    if not kind.has("on_vision"):
        return ""
    if tower is None:
        return "was made by an earlier version, without what its tower says (export the pair again)"
    return ""


def _check_tower(export: Export, compression: Compression) -> None:
    """ConfigError where the tower itself has not what the method reads: torch does not help."""
    needs = sorted(reads_of(compression.kind))
    if needs and export.tower is not None and export.tower.reads is None:
        raise ConfigError(
            f"compressor is {compression.name!r}, but this pair has a tower, {export.tower.kind}, "
            f"that gives its tokens only, where the method reads {' and '.join(needs)}: leave "
            "`compressor` empty, or take another method"
        )


def reads_of(kind: type[TokenCompressor]) -> frozenset[str]:
    """What a method needs of the graph `reads`."""
    return kind.needs & frozenset(READS)


def _flags(layers: Sequence[int]) -> str:
    return " ".join(f"--cut {layer}" for layer in layers)


def facts_of(export: Export) -> ModelFacts:
    """What methods may know about the student; widths that no method computes with are 0."""
    model, tower = export.model, export.tower
    return ModelFacts(
        num_layers=model.num_layers,
        num_heads=model.num_heads,
        num_key_heads=model.num_key_heads,
        head_width=model.head_width,
        width=model.width,
        inner=0,
        vocabulary=model.vocabulary,
        tower_width=model.tower_width if tower is None else tower.width,
        grid=export.token_grid,
        tower_blocks=0 if tower is None else tower.blocks,
        tower_heads=1 if tower is None else tower.heads,
        axes=len(export.layout.axes),
    )
