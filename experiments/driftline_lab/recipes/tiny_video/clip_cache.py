"""Tower tokens, labels and questions of the clips that training and validation read.

Written below one folder, a file a kind: `<part>.tokens.npy` (N, F, 64, D) fp16, memory-mapped, and
`<part>.labels.safetensors`. Questions are drawn again from the seed, without the pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from transformers import SiglipVisionModel

from driftline_lab.data.tiny_video.clips import Part, read_clip, read_scene
from driftline_lab.data.tiny_video.questions import Question, questions_of
from driftline_lab.recipes.tiny.tower import encode, normalize_pixels
from driftline_lab.recipes.tiny_video.labels import PatchLabels, cell_labels, patch_labels
from driftline_lab.recipes.tiny_video.model import CELLS
from driftline_shared.callbacks import Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedClips:
    """`tokens` (N, F, 64, D) fp16; `labels` by name (N, F, cells) or (N, F) int64; `questions` of
    each clip. `frames`: which of the F are read.
    """

    tokens: NDArray[np.float16]
    labels: dict[str, NDArray[np.int64]]
    questions: list[tuple[Question, ...]]
    frames: slice = field(default_factory=lambda: slice(None))

    @property
    def num_frames(self) -> int:
        """How many frames are read of each clip."""
        return len(range(self.tokens.shape[1])[self.frames])

    def through(self, frames: slice) -> CachedClips:
        """The same clips in fewer frames.

        A shape may be gone by the last of them: who asks for the end then asks something else, so
        such questions are left out where the number differs.
        """
        now = self.labels["now"]
        same = now[:, frames][:, -1] == now[:, -1]
        questions = [
            tuple(q for q in asked if keeps or not q.text.endswith("at the end?"))
            for asked, keeps in zip(self.questions, same, strict=True)
        ]
        return replace(self, questions=questions, frames=frames)


def draw_frames(
    part: Part, first: int, number: int, *, every: int
) -> tuple[NDArray[np.uint8], PatchLabels]:
    """Every so many frames of `number` clips from index `first` on, with what patches show."""
    frames, colours, shapes = [], [], []
    for index in range(first, first + number):
        clip = read_clip(part, index)
        labels = patch_labels(clip)
        frames.append(clip.frames[::every])
        colours.append(labels.colour[::every])
        shapes.append(labels.shape[::every])
    return np.concatenate(frames), PatchLabels(
        colour=np.concatenate(colours), shape=np.concatenate(shapes)
    )


def cache_clips(
    folder: Path, tower: SiglipVisionModel, part: Part, number: int, progress: Progress
) -> CachedClips:
    """The first `number` clips of a part, from the folder or computed and written there."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens_path, labels_path = (folder / f"{part}.{name}" for name in ("tokens.npy", "labels"))
    if not labels_path.exists():
        labels: dict[str, list[NDArray[np.int64]]] = {}
        tokens = None
        for index in range(number):
            clip = read_clip(part, index)
            with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
                read = encode(tower, normalize_pixels(clip.frames)).half().numpy()
            if tokens is None:
                tokens = np.lib.format.open_memmap(
                    tokens_path, mode="w+", dtype=np.float16, shape=(number, *read.shape)
                )
            tokens[index] = read
            for name, values in cell_labels(clip, CELLS).items():
                labels.setdefault(name, []).append(values)
            progress((index + 1) / number)
        del tokens
        # Last, so that a cache with labels is whole.
        save_file({name: np.stack(rows) for name, rows in labels.items()}, labels_path)
    return CachedClips(
        tokens=np.load(tokens_path, mmap_mode="r"),
        labels=load_file(labels_path),
        questions=[questions_of(read_scene(part, index)) for index in range(number)],
    )
