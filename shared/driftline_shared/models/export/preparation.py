"""What export.json says about pictures and prompts, compared with what the family itself does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from driftline_shared.errors import PairError
from driftline_shared.models.families.base import LEARNED, TEXT, FamilyModel
from driftline_shared.pair.export_file import (
    LayoutTable,
    PromptTable,
)
from driftline_shared.pair.image_steps import pixels_of
from driftline_shared.pair.image_table import (
    CenterCrop,
    Frames,
    ImageTable,
    Normalize,
    Rescale,
    Resize,
    ResizeShortest,
    Step,
)
from driftline_shared.pair.pair import Canvas
from driftline_shared.pair.prompt_text import read_by

Processed = Callable[[NDArray[np.uint8]], Any]
"""(H, W, 3) -> (3, H, W) or (F, 3, H, W) float32, as the family reads it; of a clip
(F, H, W, 3) -> (F, 3, H, W)."""

_BICUBIC = 3

_SIZES = ((224, 224), (97, 61), (33, 210), (480, 640), (16, 16))
"""Height and width of the random pictures that are compared."""

_TEXTS = ("what shape is it?", "", "  Déjà vu: 12 × 3?\n", "naïve 🙂 <s> </s> </w>")

_TOKENS = 64
"""Random token ids that are compared in their text."""


def image_table(steps: Sequence[Step], processed: Processed, *, frames: int = 1) -> ImageTable:
    """A table of these steps, proved on random pictures against what the family itself does.
    `frames`: of each picture, as `blank` has them; `steps` are done to each.

    Raises PairError where the steps do not give exactly that.
    """
    steps = steps if frames == 1 else [Frames(step="frames", num=frames), *steps]
    sample = processed(np.zeros(picture_shape(frames, 32, 32), dtype=np.uint8))
    table = ImageTable(height=sample.shape[-2], width=sample.shape[-1], steps=tuple(steps))
    rng = np.random.default_rng(0)
    for height, width in _SIZES:
        picture = rng.integers(0, 256, picture_shape(frames, height, width), dtype=np.uint8)
        wanted, got = np.asarray(processed(picture)), pixels_of(picture, table)
        if wanted.shape != got.shape or not np.array_equal(wanted, got):
            raise PairError(
                "the checkpoint's image processor prepares pictures in a way that export.json "
                'cannot say: use runtime = "torch" for this pair'
            )
    return table


def picture_shape(frames: int, height: int, width: int) -> tuple[int, ...]:
    """(H, W, 3); of a clip (F, H, W, 3)."""
    return (height, width, 3) if frames == 1 else (frames, height, width, 3)


def prompt_table(model: FamilyModel, prompt: str, tokenizer: Any) -> PromptTable:
    """How questions become ids; `tokenizer` (of the package `tokenizers`) is what a device has.

    Raises PairError where it reads or writes otherwise than the checkpoint's own.
    """
    token = str(model.tokenizer.convert_ids_to_tokens(model.image_id))
    table = PromptTable(
        template=prompt,
        image_token=token,
        image_id=model.image_id,
        add_special_tokens=not model.spells_bos,
        answer_start=model.answer_start,
        end_ids=tuple(model.end_ids()),
        pad_id=model.pad_id(),
    )
    device = read_by(
        tokenizer,
        prompt,
        image_id=table.image_id,
        image_token=token,
        add_special_tokens=table.add_special_tokens,
    )
    for question in (*_TEXTS, f"what does {token} mean?"):
        if device.around(question) != model.prompt_ids(question):
            raise _odd_tokenizer(f"reads {question!r} otherwise")
    ids = np.random.default_rng(0).integers(0, tokenizer.get_vocab_size(), _TOKENS).tolist()
    if tokenizer.decode(ids, skip_special_tokens=True).strip() != model.decode(ids):
        raise _odd_tokenizer("writes tokens otherwise")
    return table


def device_tokenizer(model: FamilyModel, file: Path) -> Any:
    """Write tokenizer.json as it is in use, and read it as a device does."""
    from tokenizers import Tokenizer

    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _odd_tokenizer("is written in Python")
    tokenizer = Tokenizer.from_str(backend.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(file))
    return Tokenizer.from_file(str(file))


def layout_table(model: FamilyModel) -> LayoutTable:
    """How the image lies in the sequence; a learned separator is the row of embeddings behind the
    vocabulary's.
    """
    layout = model.layout()
    is_learned = layout.visual == LEARNED
    behind = int(model.net.get_input_embeddings().weight.shape[0])
    axes = tuple(tuple(axis) for axis in layout.positions.tolist())
    return LayoutTable(
        ids=tuple(layout.ids.masked_fill(is_learned, behind).tolist()),
        visual=tuple(layout.visual.clamp(min=TEXT).tolist()),
        positions=axes if len(axes) > 1 else axes[0],
        span=layout.span,
    )


def input_rows(model: FamilyModel) -> torch.Tensor:
    """(vocabulary, D) embeddings, and one row more where the family has a learned separator."""
    rows: torch.Tensor = model.net.get_input_embeddings().weight.detach()
    if not bool((model.layout().visual == LEARNED).any()):
        return rows
    return torch.cat([rows, model.learned().detach().to(rows)[None]])


def canvas_step(canvas: Canvas) -> Step:
    """As `on_canvas` does it."""
    return Resize(step="resize", height=canvas.height, width=canvas.width, resample=_BICUBIC)


def one_view_steps(processor: Any, canvas: Canvas | None) -> list[Step]:
    """Of a processor that resizes, crops and scales a picture as a whole."""
    steps = [canvas_step(canvas)] if canvas is not None else []
    if getattr(processor, "do_resize", False):
        size, filter_ = processor.size, int(processor.resample)
        if size.height and size.width:
            height, width = int(size.height), int(size.width)
            steps.append(Resize(step="resize", height=height, width=width, resample=filter_))
        elif size.shortest_edge and not size.longest_edge:
            edge = int(size.shortest_edge)
            steps.append(ResizeShortest(step="resize_shortest", edge=edge, resample=filter_))
    if getattr(processor, "do_center_crop", False):
        crop = processor.crop_size
        height, width = int(crop.height), int(crop.width)
        steps.append(CenterCrop(step="center_crop", height=height, width=width))
    return [*steps, *value_steps(processor)]


def value_steps(processor: Any) -> list[Step]:
    """What a processor does to single values."""
    steps: list[Step] = []
    if getattr(processor, "do_rescale", False):
        steps.append(Rescale(step="rescale", factor=float(processor.rescale_factor)))
    if getattr(processor, "do_normalize", False):
        mean, std = (tuple(map(float, x)) for x in (processor.image_mean, processor.image_std))
        steps.append(Normalize.model_validate({"step": "normalize", "mean": mean, "std": std}))
    return steps


def _odd_tokenizer(what: str) -> PairError:
    return PairError(
        f"the checkpoint's tokenizer {what} than a tokenizer.json can say, and devices have "
        'nothing else: use runtime = "torch" for this pair'
    )
