"""export.json: what a device must know to run an exported pair. Needs no torch.

An export is a folder that `driftline models export` writes and a device reads (docs/models.md):
graphs for ONNX Runtime beside pair.toml and what was fitted. The graphs' inputs and outputs:

    tower      pixels (B, 3, H, W), of pictures in F views (B, F, 3, H, W) -> tokens (B, V, D_v)
               and `hidden.{n}` (B, F, P, D_p), what enters a block, class token included, of
               towers with a graph `reads`
    reads      hidden.{n} -> attention (B, V), keys (B, V, D_p), and of heads, head_attention
               (B, V, H_v), head_keys: what compressors read of the tower
    projector  tokens (B, K, D_v) -> projected (B, K, D)
    lm         inputs_embeds (B, T, D), position_ids (B, T) int64 or, on A > 1 axes, (A, B, T),
               lengths (B,) int32, places of each row with those of this pass (a prompt's padding,
               which stands behind it, counts in the pass that reads it), total (1,) int32, the
               largest of them, deep.{i} (B, T, D) of families whose projected
               tokens are (1 + n) * D wide: what is added behind the first n layers,
               past_key.{i}, past_value.{i} (B, H_kv, P, d) -> hidden (B, T, D) before the final
               norm, present_key.{i}, present_value.{i} (B, H_kv, P + T, d), and query.{i}
               (B, H, T, d) of every layer, after rotary embedding. Several places at once on a
               cache that is not empty (T > 1, P > 0) take one row only: B = 1
    lm.{n}     the layers behind cut n, as `lm`, whose `hidden` before is its `inputs_embeds`
    look.{n}   what enters layer i, the first behind cut n: inputs_embeds, position_ids as `lm` ->
               query.{i}, key.{i} (B, H_kv, T, d) that it will compute, after rotary embedding, and
               normed (B, T, D), behind the final norm
    head       hidden (N, D) -> logits (N, vocabulary), final norm included; an `lm` beside a
               `prefill` gives `logits` (B * T, vocabulary) by itself

All float32 where nothing else is said. Letters: B batch, T places, P places in the cache, K kept
tokens, V visual tokens, D width, D_v tower width, H heads, d width of a head, R rank, N rows.

Adapter tensors and dropout masks are *overridable initializers*: inputs with a value of their own,
LoRA of rank 0, norm weights of the base, masks of 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from driftline_shared.errors import PairError, UpdateError
from driftline_shared.pair.image_table import ImageTable, Table
from driftline_shared.pair.tower_table import FileName, TowerTable
from driftline_shared.tokens import MAX_TOKENS, Grid
from driftline_shared.update import MAX_TENSORS, Adapter

EXPORT_FILE = "export.json"

MAX_EXPORT_FILE_BYTES = 64 << 20
"""Most bytes of an export.json (64 MiB): a picture of 65,536 tokens has as many places."""

MAX_CUTS = 16
"""Most places at which a language model is cut."""

EMBEDDINGS = "embeddings"
"""The tensor of embeddings.safetensors: (vocabulary, D) float16 or float32. More rows may follow:
padding, and a separator that the family has learned, which the layout names by its row.
"""

VERSION_0 = "version0.safetensors"
"""The adapter at version 0: every tensor of `adapter_shapes`, float32. Listed in `files`."""

Part = Literal["tower", "projector", "lm", "head"]
AdaptedPart = Literal["projector", "lm", "head"]

_Count = Annotated[int, Field(ge=1, le=1 << 24)]
_Index = Annotated[int, Field(ge=0, le=1 << 24)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Name = Annotated[str, Field(min_length=1, max_length=512)]
_Axes = Annotated[tuple[tuple[_Index, ...], ...], Field(min_length=2, max_length=4)]


class FileEntry(Table):
    """One file of the export: hex sha256 and size."""

    sha256: _Digest
    num_bytes: Annotated[int, Field(ge=0)]


class GridTable(Table):
    """Where tokens sit, as `Grid`."""

    frames: _Count
    rows: _Count
    cols: _Count


class Precision(Table):
    """The graphs of one precision, by file name, and the bytes of all of them together.

    `prefill`: another graph of the language model for passes over many places, and for dropout
    masks and queries, which `lm` then knows nothing of; None: `lm` serves those, too. `behind`,
    `prefill_behind`: the layers behind each of `ModelTable.cuts`, which those two then lack.
    `looks`: what enters them, for compressors that look into a layer; opened for those only, and
    not counted. Empty in exports of earlier versions.
    """

    tower: FileName
    projector: FileName
    lm: FileName
    prefill: FileName | None = None
    head: FileName
    num_bytes: Annotated[int, Field(ge=1)]
    behind: Annotated[tuple[FileName, ...], Field(max_length=MAX_CUTS)] = ()
    prefill_behind: Annotated[tuple[FileName, ...], Field(max_length=MAX_CUTS)] = ()
    looks: Annotated[tuple[FileName, ...], Field(max_length=MAX_CUTS)] = ()

    def files(self) -> dict[str, str]:
        """Role -> file name, `prefill` only where there is one; `lm.1` is behind the first cut, and
        what `look.1` looks at.
        """
        files = {k: v for k, v in self.model_dump().items() if isinstance(v, str)}
        behind = (("lm", self.behind), ("prefill", self.prefill_behind), ("look", self.looks))
        for role, names in behind:
            files |= {f"{role}.{number}": name for number, name in enumerate(names, 1)}
        return files


class ModelTable(Table):
    """Shapes of the student. `query_layers`: layers whose queries the graphs give out, all of them.
    `cuts`: layers, rising, before which it is cut into graphs, so that what one gives can be
    narrowed before the next reads it. `num_deep`: layers with an input `deep.{i}`.
    """

    num_visual_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)]
    tower_width: _Count
    width: _Count
    vocabulary: _Count
    num_layers: Annotated[int, Field(ge=1, le=1_024)]
    num_heads: _Count
    num_key_heads: _Count
    head_width: _Count
    max_positions: _Count
    query_layers: tuple[_Index, ...]
    max_new_tokens: Annotated[int, Field(ge=1, le=4_096)]
    cuts: Annotated[tuple[_Index, ...], Field(max_length=MAX_CUTS)] = ()
    num_deep: Annotated[int, Field(ge=0, le=1_024)] = 0

    @property
    def pieces(self) -> tuple[range, ...]:
        """The layers of each graph of the language model."""
        edges = (0, *self.cuts, self.num_layers)
        return tuple(range(a, b) for a, b in pairwise(edges))


class PromptTable(Table):
    """How a question becomes token ids, with tokenizer.json read by `tokenizers`.

    The text is `template` with `image_token` for "<image>" and the question, in which `image_token`
    is left out, for "{question}". It is encoded with `add_special_tokens` (the rule for the token
    that begins a text), split at `image_id`, and the image's layout put in between. An answer of
    our own is `answer_start` + text without leading spaces, encoded without special tokens, then
    `end_ids[0]`. Generated ids are decoded without special tokens and stripped. Rows are padded
    with `pad_id`, on the left where answers are generated.
    """

    template: str
    image_token: _Name
    image_id: _Index
    add_special_tokens: bool
    answer_start: str
    end_ids: Annotated[tuple[_Index, ...], Field(min_length=1, max_length=256)]
    pad_id: _Index


class LayoutTable(Table):
    """The image's stretch of the sequence with all V tokens kept; L places, A position axes.

    `visual`: flat grid index of the visual token at a place, or -1 for text; `ids`: token ids, read
    at text places only; `positions`: counted from the first place, a list for each axis where there
    are several; `span`: where text goes on, on every axis.
    Places of tokens that are not kept are left out, the others keep their positions.
    """

    ids: Annotated[tuple[_Index, ...], Field(min_length=1, max_length=4 * MAX_TOKENS)]
    visual: tuple[Annotated[int, Field(ge=-1, le=MAX_TOKENS)], ...]
    positions: tuple[_Index, ...] | _Axes
    span: _Index

    @property
    def axes(self) -> tuple[tuple[int, ...], ...]:
        """Positions (A, L)."""
        several = tuple(axis for axis in self.positions if isinstance(axis, tuple))
        return several or (tuple(at for at in self.positions if isinstance(at, int)),)

    @model_validator(mode="after")
    def _same_length(self) -> LayoutTable:
        if {len(self.ids)} != {len(self.visual), *map(len, self.axes)}:
            raise ValueError("ids, visual and positions of the layout are not equally long")
        return self


class LoraPart(Table):
    """One LoRA pair inside a packed one: `tensor`.A (R, inputs) and `tensor`.B (outputs, R).

    `outputs` begin at `offset` in the packed outputs.
    """

    tensor: _Name
    offset: _Index
    outputs: _Count


class LoraInput(Table):
    """Two inputs of a graph: `a` (inputs, sum of ranks) and `b` (sum of ranks, outputs).

    `parts` read the same values and lie side by side in `a`; in `b` they are blocks on a diagonal.
    """

    part: AdaptedPart
    a: _Name
    b: _Name
    inputs: _Count
    outputs: _Count
    parts: Annotated[tuple[LoraPart, ...], Field(min_length=1, max_length=16)]

    @model_validator(mode="after")
    def _side_by_side(self) -> LoraInput:
        end = 0
        for part in sorted(self.parts, key=lambda part: part.offset):
            if part.offset < end:
                raise ValueError(f"{part.tensor} lies over another part of {self.b}")
            end = part.offset + part.outputs
        if end > self.outputs:
            raise ValueError(f"the parts of {self.b} end at {end} of {self.outputs}")
        return self


class NormInput(Table):
    """One input of a graph: the norm weight `tensor` (width,)."""

    part: AdaptedPart
    input: _Name
    tensor: _Name
    width: _Count


class AdapterTable(Table):
    """How adapter tensors become inputs. `rank` and `alpha` scale LoRA: B is times alpha / rank."""

    rank: Annotated[int, Field(ge=1, le=1_024)]
    alpha: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    lora: Annotated[tuple[LoraInput, ...], Field(max_length=MAX_TENSORS)]
    norms: Annotated[tuple[NormInput, ...], Field(max_length=MAX_TENSORS)]


class DropoutInput(Table):
    """A mask input (B, T, width), a scalar 1 by default: multiplied into what `place` reads.

    The list is in the order of the forward pass. A mask holds 0 and 1 / (1 - rate).
    """

    part: Literal["projector", "lm"]
    input: _Name
    place: _Name
    width: _Count


class Export(Table):
    """export.json.

    `base_model`, `token_space`: hex digests of the pair, as the cloud knows them. `quantization`:
    of the pair, already rounded into every graph. `made_with`: package -> version. `files`: every
    file of the folder but export.json; `sources`: what they were made from. `precisions`: fp32 is
    always there. `tower`: None in exports of earlier versions.
    """

    format: Literal[2]
    pair: _Name
    base_model: _Digest
    token_space: _Digest
    quantization: Literal["none", "int8", "nf4"]
    family: _Name
    made_with: dict[str, str]
    files: Annotated[dict[FileName, FileEntry], Field(max_length=4_096)]
    sources: Annotated[dict[str, _Digest], Field(max_length=4_096)]
    grid: GridTable
    model: ModelTable
    precisions: Annotated[dict[FileName, Precision], Field(min_length=1, max_length=16)]
    image: ImageTable
    prompt: PromptTable
    layout: LayoutTable
    adapter: AdapterTable
    tower: TowerTable | None = None
    dropout: Annotated[tuple[DropoutInput, ...], Field(max_length=8_192)]
    dropout_rate: Annotated[float, Field(ge=0.0, lt=1.0)]

    @property
    def token_grid(self) -> Grid:
        """Where tokens sit."""
        return Grid(frames=self.grid.frames, rows=self.grid.rows, cols=self.grid.cols)

    @model_validator(mode="after")
    def _fits_together(self) -> Export:
        for name, precision in self.precisions.items():
            lost = sorted(set(precision.files().values()) - self.files.keys())
            if lost:
                raise ValueError(f"precision {name} names files that are not listed: {lost}")
            behind = [precision.behind] + [precision.prefill_behind] * bool(precision.prefill)
            if any(len(files) != len(self.model.cuts) for files in behind):
                raise ValueError(f"precision {name} has not one graph behind each cut")
            if precision.looks and len(precision.looks) != len(self.model.cuts):
                raise ValueError(f"precision {name} has not one look at each cut")
        edges = (0, *self.model.cuts, self.model.num_layers)
        if any(a >= b for a, b in pairwise(edges)):
            raise ValueError("cuts are not rising layers of the model")
        if "fp32" not in self.precisions:
            raise ValueError("there is no precision fp32, with which the others are compared")
        tokens = self.model.num_visual_tokens
        if self.token_grid.num_tokens != tokens:
            raise ValueError(f"the grid does not hold {tokens} tokens")
        if sorted(index for index in self.layout.visual if index >= 0) != list(range(tokens)):
            raise ValueError("the layout does not hold every visual token once")
        if self.model.query_layers != tuple(range(self.model.num_layers)):
            raise ValueError("query_layers does not name every layer once")
        return self


def is_export(folder: Path) -> bool:
    """Whether `folder` holds an export."""
    return (folder / EXPORT_FILE).is_file()


def load_export(folder: Path) -> Export:
    """Read and check export.json of `folder`; every file it names is there in its size.

    Digests are not computed: see `check_files`. Raises PairError with the cause and what to do.
    """
    file = folder / EXPORT_FILE
    try:
        if file.stat().st_size > MAX_EXPORT_FILE_BYTES:
            raise PairError(
                f"{file} has more than {MAX_EXPORT_FILE_BYTES} bytes: that is no export"
            )
        found = Export.model_validate_json(file.read_bytes())
    except OSError as error:
        raise PairError(
            f"{file} cannot be read: {error}; make one with `driftline models export PAIR --out "
            f"{folder}`"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise PairError(
            f"{file}: {place}: {first['msg']}; export the pair again with this version of driftline"
        ) from error
    for name, entry in found.files.items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != entry.num_bytes:
            problem = "is missing" if size is None else f"has {size} bytes, not {entry.num_bytes}"
            raise PairError(f"{path} {problem}; copy the export again or export the pair again")
    return found


def check_files(folder: Path, export: Export) -> None:
    """Compare every file with its digest; reads all of them. Raises PairError naming the first."""
    for name, entry in sorted(export.files.items()):
        if file_digest(folder / name) != entry.sha256:
            raise PairError(
                f"{folder / name} is not the file that was exported (its sha256 differs); copy the "
                "export again"
            )


def file_digest(path: Path) -> str:
    """Hex sha256 of a file."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def middle_third(num_layers: int) -> range:
    """Layers whose attention says what an answer looked at; all where there are fewer than 3."""
    edge = num_layers // 3
    return range(edge, num_layers - edge)


def adapter_shapes(table: AdapterTable) -> dict[str, tuple[int, ...]]:
    """Adapter tensor name -> shape, in name order."""
    shapes = dict[str, tuple[int, ...]]()
    for packed in table.lora:
        for part in packed.parts:
            shapes[f"{part.tensor}.A"] = (table.rank, packed.inputs)
            shapes[f"{part.tensor}.B"] = (part.outputs, table.rank)
    shapes |= {norm.tensor: (norm.width,) for norm in table.norms}
    return dict(sorted(shapes.items()))


def load_version_0(folder: Path, export: Export) -> Adapter:
    """The adapter at version 0. Raises PairError where its file is not of this export."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        adapter: Adapter = load_file(folder / VERSION_0)
        _check_adapter(adapter_shapes(export.adapter), adapter)
    except (OSError, SafetensorError, UpdateError) as error:
        raise PairError(
            f"{folder / VERSION_0} cannot be used: {error}; export the pair again"
        ) from error
    return adapter


def graph_parameters(
    table: AdapterTable, adapter: Adapter
) -> dict[AdaptedPart, dict[str, NDArray[np.float32]]]:
    """What to override in each adapted graph so that it runs under `adapter`: part -> input name
    -> float32 array.

    LoRA pairs whose B is zero change nothing and are left out, so version 0 costs nothing. Raises
    UpdateError when names or shapes are not the model's.
    """
    _check_adapter(adapter_shapes(table), adapter)
    given: dict[AdaptedPart, dict[str, NDArray[np.float32]]]
    given = {part: {} for part in get_args(AdaptedPart)}
    for packed in table.lora:
        in_use = [part for part in packed.parts if np.any(adapter[f"{part.tensor}.B"])]
        if not in_use:
            continue
        down = np.concatenate([adapter[f"{part.tensor}.A"] for part in in_use]).T
        up = np.zeros((table.rank * len(in_use), packed.outputs), dtype=np.float32)
        for number, part in enumerate(in_use):
            rows = slice(number * table.rank, (number + 1) * table.rank)
            columns = slice(part.offset, part.offset + part.outputs)
            up[rows, columns] = adapter[f"{part.tensor}.B"].T * (table.alpha / table.rank)
        given[packed.part][packed.a] = np.ascontiguousarray(down, dtype=np.float32)
        given[packed.part][packed.b] = up
    for norm in table.norms:
        weight = np.ascontiguousarray(adapter[norm.tensor], dtype=np.float32)
        given[norm.part][norm.input] = weight
    return given


def _check_adapter(shapes: Mapping[str, tuple[int, ...]], adapter: Mapping[str, Any]) -> None:
    if shapes.keys() != adapter.keys():
        odd = sorted(shapes.keys() ^ adapter.keys())
        raise UpdateError(f"the adapter does not fit this export: {odd[:3]} on one side only")
    for name, shape in shapes.items():
        if tuple(adapter[name].shape) != shape:
            raise UpdateError(f"{name}: shape {adapter[name].shape}, the export has {shape}")
