"""Trains projector, newline and language model on cached tokens, packed by clip.

Loss: cross-entropy on answer tokens, and of what auxiliary heads read in a middle layer at each
visual token (`labels`); the heads are dropped after training. The last stage reads random parts of
a clip's tokens (`parts`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import LlavaOnevisionForConditionalGeneration

from driftline_lab.data.tiny_video.questions import Kind, Question
from driftline_lab.recipes.packing import IGNORE, Packed, Segment, pack, spliced
from driftline_lab.recipes.tiny.questions import Encoder
from driftline_lab.recipes.tiny.training import LanguagePlan
from driftline_lab.recipes.tiny_video.clip_cache import CachedClips
from driftline_lab.recipes.tiny_video.labels import CELL_CLASSES, FRAME_CLASSES, ORDER_CLASSES
from driftline_lab.recipes.tiny_video.model import CELLS
from driftline_lab.recipes.tiny_video.parts import draw_part
from driftline_lab.recipes.training import Optimizer, Report

_READ_AFTER = 4
"""Layers before what auxiliary heads read; one more for `ORDER_CLASSES`, which need the rest."""

_EMPTY = 0.1
"""Weight of the last class of colour and shape, the background."""

_QUESTION_WEIGHTS = {Kind.MOTION: 1.0, Kind.ORDER: 4.0, Kind.COUNT: 2.0, Kind.COLOUR: 1.5}
"""How often each kind is asked of a clip that has more questions than are asked."""

_CHECKPOINT_STEPS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """A batch of clips: packed rows, tower tokens (B, F, 64, D), labels (B, K) by name of the
    visual tokens `kept` (B, K), flat indices of cells.
    """

    packed: Packed
    tokens: Tensor
    labels: dict[str, Tensor]
    kept: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Which clips are read, up to which step, and at least which share of their visual tokens:
    each step draws the logarithm of a share between that and all, and each clip which tokens those
    are (`parts.draw_part`).
    """

    clips: CachedClips
    stop: int
    least_kept: float = 1.0


class Heads(nn.Module):
    """Linear heads of `CELL_CLASSES`, `FRAME_CLASSES` and `ORDER_CLASSES`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cells = nn.ModuleDict({n: nn.Linear(width, c) for n, c in CELL_CLASSES.items()})
        self.frames = nn.ModuleDict({n: nn.Linear(width, c) for n, c in FRAME_CLASSES.items()})
        self.orders = nn.ModuleDict({n: nn.Linear(width, c) for n, c in ORDER_CLASSES.items()})

    def loss(self, states: Tensor, later: Tensor, labels: dict[str, Tensor]) -> Tensor:
        """Mean of all heads' cross-entropies; `states` and, a layer on, `later` (B, K, W)."""
        losses = []
        for heads, read in ((self.cells, states), (self.frames, states), (self.orders, later)):
            for name, head in heads.items():
                logits = head(read).float()
                weight = torch.ones(logits.shape[-1])
                if name in ("colour", "shape"):
                    weight[-1] = _EMPTY
                wanted = labels[name]
                if bool((wanted != IGNORE).any()):
                    losses.append(F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight))
        return torch.stack(losses).mean()


def train_language(
    model: LlavaOnevisionForConditionalGeneration,
    stages: Sequence[Stage],
    plan: LanguagePlan,
    encoder: Encoder,
    report: Report,
    checkpoint: Path,
    *,
    checkpoint_steps: int = _CHECKPOINT_STEPS,
) -> None:
    """Trains in place, on from `checkpoint` where it exists; every step draws by its own seed."""
    torch.manual_seed(plan.seed)
    heads = Heads(model.config.text_config.hidden_size)
    trained = {
        name: weight
        for name, weight in [*model.named_parameters(), *heads.named_parameters()]
        if weight.requires_grad
    }
    optimizer = Optimizer(trained, plan)
    first = optimizer.resume(checkpoint)
    model.train()
    for step in range(first, plan.num_steps):
        stage = next(stage for stage in stages if step < stage.stop)
        rows = draw_rows(stage, plan, encoder, np.random.default_rng([plan.seed, step]))
        answer_loss, head_loss = losses(model, heads, rows)
        optimizer.step(step, answer_loss + plan.auxiliary_weight * head_loss)
        report(step, float(answer_loss.detach()))
        if (step + 1) % checkpoint_steps == 0:
            optimizer.save(checkpoint, step + 1)
    model.eval()


def draw_rows(stage: Stage, plan: LanguagePlan, encoder: Encoder, rng: np.random.Generator) -> Rows:
    """A batch of random clips with some of their questions; what is rare is drawn more often."""
    clips = stage.clips
    weights = np.array([_clip_weight(asked) for asked in clips.questions])
    chosen = np.sort(
        rng.choice(len(weights), size=plan.pictures_per_step, p=weights / weights.sum())
    )
    asked = []
    for index in chosen:
        questions = clips.questions[index]
        shares = np.array([_QUESTION_WEIGHTS[question.kind] for question in questions])
        number = min(plan.questions_per_picture, len(questions))
        order = rng.choice(len(questions), number, replace=False, p=shares / shares.sum())
        asked.append([encoder.segment(questions[i].text, questions[i].answer) for i in order])
    return rows_of(clips, chosen.tolist(), asked, encoder, _parts(stage, chosen, rng))


def _parts(
    stage: Stage, chosen: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """(B, K) rising cells, drawn for each clip; None: all."""
    if stage.least_kept >= 1.0:
        return None
    clips = stage.clips
    num_cells = clips.num_frames * CELLS * CELLS
    share = math.exp(rng.uniform(math.log(stage.least_kept), 0.0))
    number = max(1, round(share * num_cells))
    tokens = clips.tokens[chosen][:, clips.frames].astype(np.float32)
    seen = tokens.reshape(len(chosen), -1, CELLS, 2, CELLS, 2, tokens.shape[-1]).mean(axis=(3, 5))
    cells = seen.reshape(len(chosen), clips.num_frames, CELLS**2, -1)
    return np.stack([draw_part(each, number, rng) for each in cells])


def _clip_weight(asked: Sequence[Question]) -> float:
    return 2.0 if any(question.kind is Kind.ORDER for question in asked) else 1.0


def rows_of(
    clips: CachedClips,
    chosen: list[int],
    asked: list[list[Segment]],
    encoder: Encoder,
    kept: NDArray[np.int64] | None = None,
) -> Rows:
    """The chosen clips with their segments; the newline counts as one more visual token.

    `kept` (B, K): rising flat indices of the cells that are read; None: all.
    """
    num_cells = clips.num_frames * CELLS * CELLS
    if kept is None:
        kept = np.tile(np.arange(num_cells), (len(chosen), 1))
    newline = np.full((len(chosen), 1), num_cells)
    packed = pack(
        asked,
        np.concatenate([kept, newline], axis=1),
        num_visual=num_cells + 1,
        start_ids=(int(encoder.tokenizer.bos_token_id),),
        pad_id=int(encoder.tokenizer.pad_token_id),
    )
    return Rows(
        packed=packed,
        tokens=torch.from_numpy(clips.tokens[chosen][:, clips.frames]).float(),
        labels={
            name: torch.from_numpy(_labels_of(name, rows[chosen][:, clips.frames], kept))
            for name, rows in clips.labels.items()
        },
        kept=torch.from_numpy(kept),
    )


def _labels_of(name: str, labels: NDArray[np.int64], kept: NDArray[np.int64]) -> NDArray[np.int64]:
    """(B, K) what a head is to say at each kept cell.

    The label of a frame is asked at its last cell that is kept, which has seen the most of it.
    """
    if name in CELL_CLASSES:
        return np.take_along_axis(labels.reshape(len(labels), -1), kept, axis=1)
    frame = kept // (CELLS * CELLS)
    known = np.take_along_axis(labels, frame, axis=1)
    last = np.ones(frame.shape, dtype=bool)
    last[:, :-1] = frame[:, 1:] != frame[:, :-1]
    return np.where(last, known, IGNORE)


def read_rows(
    model: LlavaOnevisionForConditionalGeneration, rows: Rows
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Last hidden states (B, T, W), and those of all layers."""
    llava = model.model
    batch, frames = rows.tokens.shape[:2]
    # Mean of 2 x 2 projected patches: what the library's pooling by half comes to.
    seen = llava.multi_modal_projector(rows.tokens)
    seen = seen.reshape(batch, frames, CELLS, 2, CELLS, 2, -1).mean(dim=(3, 5))
    seen = seen.reshape(batch, frames * CELLS * CELLS, -1)
    seen = seen.take_along_dim(rows.kept[:, :, None], dim=1)
    newline = llava.image_newline.to(seen.dtype).expand(batch, 1, -1)
    words = llava.language_model.embed_tokens(rows.packed.input_ids)
    output = llava.language_model(
        inputs_embeds=spliced(words, torch.cat([seen, newline], dim=1)),
        attention_mask=rows.packed.mask,
        position_ids=rows.packed.position_ids,
        output_hidden_states=True,
        use_cache=False,
    )
    return output.last_hidden_state, output.hidden_states


def losses(
    model: LlavaOnevisionForConditionalGeneration, heads: Heads, rows: Rows
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of the answer tokens, and of the auxiliary heads."""
    num_kept = rows.kept.shape[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        last, layers = read_rows(model, rows)
        wanted = rows.packed.labels != IGNORE
        logits = model.lm_head(last[wanted]).float()
        states, later = (
            layers[depth][:, 1 : 1 + num_kept] for depth in (_READ_AFTER, _READ_AFTER + 1)
        )
        head_loss = heads.loss(states, later, rows.labels)
    return F.cross_entropy(logits, rows.packed.labels[wanted]), head_loss
