"""From questions and visual tokens to what the language model reads, in numpy."""

from __future__ import annotations

import json
import os
import struct
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from driftline_shared.errors import PairError
from driftline_shared.pair.export_file import EMBEDDINGS, Export
from driftline_shared.pair.prompt_text import read_by
from driftline_shared.pair.weights import file_headers

_FIRST = np.zeros(1, dtype=np.int64)

_DTYPES = {"F16": "<f2", "F32": "<f4"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One sequence of T places: `ids` (T,) int64; `positions` (A, T) int64 on each of A axes;
    `visual` (K,) places of the kept tokens in the order given; `image_from`: the image's first
    place, `text_from`: the first behind it; `words`: the places of the question's own words;
    `num_answer` answer tokens at the end.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    visual: NDArray[np.int64]
    image_from: int
    text_from: int
    words: range
    num_answer: int

    @property
    def num_prompt(self) -> int:
        """Places without the answer's."""
        return len(self.ids) - self.num_answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What the language model reads: `embeds` (B, T, D) float32; `positions` (A, B, T) int64;
    `lengths` (B,) int64: how many of the T places are each row's, behind which is padding; `deep`:
    inputs `deep.{i}` (B, T, D), what is added behind layer i.
    """

    embeds: NDArray[np.float32]
    positions: NDArray[np.int64]
    lengths: NDArray[np.int64]
    deep: dict[str, NDArray[np.float32]]


class TableFile:
    """A table (rows, width) in a file, of which rows are read when they are asked for.

    Mapped, each row would bring half a megabyte around it into the process. Safe from any thread.
    """

    def __init__(self, file: Path, shape: Sequence[int], dtype: Any, *, begin: int) -> None:
        """`begin`: bytes of the file before the first row."""
        self._file, (self._rows, self._width) = file, shape
        self._dtype, self._begin = np.dtype(dtype), begin
        self._open = os.open(file, os.O_RDONLY)
        weakref.finalize(self, os.close, self._open)

    def __len__(self) -> int:
        """Number of rows."""
        return self._rows

    def read(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """(...,) numbers of rows -> (..., width). Raises PairError for a row that the file does not
        hold: it was cut, or is another's.
        """
        # A token's step reads one.
        one = ids.size == 1
        different, places = (ids.ravel(), _FIRST) if one else np.unique(ids, return_inverse=True)
        if len(different) and not 0 <= different[0] <= different[-1] < self._rows:
            raise PairError(
                f"{self._file} has {self._rows} rows, one of {different[0]} to {different[-1]} is "
                "asked for: the tokenizer is another pair's; export the pair again"
            )
        found = np.empty((len(different), self._width), dtype=self._dtype)
        for row, number in zip(found, different.tolist(), strict=True):
            self._fill(row, self._begin + number * row.nbytes)
        return found[places.reshape(ids.shape)]

    def _fill(self, row: NDArray[Any], begin: int) -> None:
        left = row.data.cast("B")
        while left:
            try:
                num = os.preadv(self._open, [left], begin)
            except OSError as error:
                raise self._changed(str(error)) from error
            if not num:
                raise self._changed("it ends too early")
            left, begin = left[num:], begin + num

    def _changed(self, why: str) -> PairError:
        return PairError(
            f"{self._file} cannot be read any more ({why}); copy the export again, and start anew"
        )


class Prompts:
    """Tokenizer, image layout and input embeddings of an export; safe from any thread."""

    def __init__(self, folder: Path, export: Export) -> None:
        """Raises PairError for a tokenizer or embeddings that are not those of the export."""
        self._table = export.prompt
        self._tokenizer = _tokenizer(folder / "tokenizer.json")
        self._embeddings = _embeddings(folder / "embeddings.safetensors", export)
        layout = export.layout
        self._layout_ids = np.asarray(layout.ids, dtype=np.int64)
        named = (*layout.ids, export.prompt.pad_id, *export.prompt.end_ids)
        if max(named) >= len(self._embeddings):
            raise PairError(
                f"{folder} names token {max(named)} of {len(self._embeddings)}; export the pair "
                "again"
            )
        self._layout_positions = np.asarray(layout.axes, dtype=np.int64)
        self._span = layout.span
        visual = np.asarray(layout.visual, dtype=np.int64)
        self._is_text = visual < 0
        slots = np.flatnonzero(visual >= 0)
        # Place in the layout of each flat grid index.
        self._place_of = np.empty(len(slots), dtype=np.int64)
        self._place_of[visual[slots]] = slots
        table = export.prompt
        self._text = read_by(
            self._tokenizer,
            table.template,
            image_id=table.image_id,
            image_token=table.image_token,
            add_special_tokens=table.add_special_tokens,
        )

    def embed(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """(...,) token ids -> (..., D)."""
        return self._embeddings.read(ids).astype(np.float32, copy=False)

    def ids_around(self, question: str) -> tuple[list[int], list[int]]:
        """Token ids before and after the image; the question is text, whatever it spells."""
        return self._text.around(question)

    def row(self, question: str, kept: NDArray[np.integer], answer: Sequence[int] = ()) -> Row:
        """The sequence of one question; `kept`: flat grid indices of its visual tokens."""
        before, after = self.ids_around(question)
        after = [*after, *answer]
        places, start = self._place_of[kept], len(before)
        stays = self._is_text.copy()
        stays[places] = True
        new_place = np.cumsum(stays) - 1
        axes = len(self._layout_positions)
        first = np.broadcast_to(np.arange(start), (axes, start))
        last = np.broadcast_to(start + self._span + np.arange(len(after)), (axes, len(after)))
        text_from = start + int(stays.sum())
        image_positions = start + self._layout_positions[:, stays]
        return Row(
            ids=np.concatenate([before, self._layout_ids[stays], after]).astype(np.int64),
            positions=np.concatenate([first, image_positions, last], axis=1),
            visual=start + new_place[places],
            image_from=start,
            text_from=text_from,
            words=self._text.words.places(text_from, text_from + len(after) - len(answer)),
            num_answer=len(answer),
        )

    def batch(self, rows: Sequence[Row], projected: NDArray[np.float32], *, skip: int = 0) -> Batch:
        """Rows padded behind, (B, K, D) `projected` tokens in their places; where tokens are
        (1 + n) * D wide, the further D are what is added there behind each of the first n layers.

        `skip`: places at the start of every row that a cache holds already; all visual tokens are
        among them, or none.
        """
        lengths = np.asarray([len(row.ids) - skip for row in rows], dtype=np.int64)
        width = int(lengths.max())
        ids = np.full((len(rows), width), self._table.pad_id, dtype=np.int64)
        positions = np.zeros((len(self._layout_positions), len(rows), width), dtype=np.int64)
        for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            ids[number, :length] = row.ids[skip:]
            positions[:, number, :length] = row.positions[:, skip:]
        embeds = self.embed(ids)
        deep = dict[str, NDArray[np.float32]]()
        if not skip:
            visual = np.stack([row.visual for row in rows])
            places, width = (np.arange(len(rows))[:, None], visual), embeds.shape[-1]
            embeds[places] = projected[..., :width]
            for layer in range(projected.shape[-1] // width - 1):
                deep[f"deep.{layer}"] = added = np.zeros_like(embeds)
                added[places] = projected[..., (1 + layer) * width : (2 + layer) * width]
        return Batch(embeds=embeds, positions=positions, lengths=lengths, deep=deep)

    def answer_ids(self, text: str) -> list[int]:
        """Token ids of an answer, end token included."""
        spoken = self._table.answer_start + text.lstrip()
        ids: list[int] = self._tokenizer.encode(spoken, add_special_tokens=False).ids
        return [*ids, self._table.end_ids[0]]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens left out, stripped."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def token_name(self, token: int) -> str:
        """What the vocabulary calls a token."""
        return str(self._tokenizer.id_to_token(token) or token)


def _tokenizer(file: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(file))
    # The library raises plain exceptions of its own.
    except Exception as error:
        raise PairError(f"{file} cannot be read: {error}; export the pair again") from error


def _embeddings(file: Path, export: Export) -> TableFile:
    """(vocabulary, D): rows are read when they are used."""
    header = file_headers(file).get(EMBEDDINGS)
    # Some vocabularies are padded in the head only: rows are read by id, so more of them is fine.
    if (
        header is None
        or header.dtype not in _DTYPES
        or len(header.shape) != 2
        or header.shape[1] != export.model.width
    ):
        raise PairError(f"{file} holds no embeddings of this export; export the pair again")
    with file.open("rb") as opened:
        length = struct.unpack("<Q", opened.read(8))[0]
        begin, _ = json.loads(opened.read(length))[EMBEDDINGS]["data_offsets"]
    return TableFile(file, header.shape, _DTYPES[header.dtype], begin=8 + length + begin)
