"""Trains projector and language model of one LLaVA on cached tokens, packed by picture.

Loss: cross-entropy on answer tokens only. An auxiliary head, dropped after training, reads shape
and colour from the middle layer at the end of each question: it tells attention early that the
figure is worth finding. In every step a random share of the visual tokens is kept, so that both
models can read what a device sends up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from driftline_lab.recipes.packing import IGNORE, Packed, Segment, pack, spliced
from driftline_lab.recipes.tiny.language import NUM_VISUAL
from driftline_lab.recipes.tiny.tower import NUM_COLOURS, NUM_SHAPES
from driftline_lab.recipes.training import Optimizer, Report, Schedule

KEEP_SHARES = (1.0, 0.75, 0.5, 0.25, 0.25)


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One picture in one domain: where its tokens are, what is asked, what the figure is."""

    tokens: NDArray[np.float16]
    """(N, V, D), shared by all views of a domain."""
    row: int
    segments: tuple[Segment, ...]
    shape: int
    colour: int
    chances: NDArray[np.float64] | None = None
    """How often each segment is drawn in training; alike when `None`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguagePlan(Schedule):
    """How a language model is trained; `auxiliary_weight`: of what the dropped heads read."""

    auxiliary_weight: float = 0.5

    def resized(self, num_steps: int, *, seed: int) -> LanguagePlan:
        """The same plan over another number of steps, warm-up in proportion."""
        warmup_steps = round(self.warmup_steps * num_steps / self.num_steps)
        return replace(self, num_steps=num_steps, warmup_steps=warmup_steps, seed=seed)


def train_language(
    model: LlavaForConditionalGeneration,
    domains: Mapping[str, Sequence[View]],
    plan: LanguagePlan,
    report: Report,
    *,
    start_id: int,
    pad_id: int,
) -> None:
    """Trains in place; each step draws pictures from all domains alike."""
    rng = np.random.default_rng(plan.seed)
    torch.manual_seed(plan.seed)
    llava = model.model
    width = model.config.text_config.hidden_size
    facts = nn.Linear(width, NUM_SHAPES + NUM_COLOURS)
    modules = [llava.multi_modal_projector, llava.language_model, model.lm_head, facts]
    optimizer = Optimizer(dict(nn.ModuleList(modules).named_parameters()), plan)
    model.train()
    for step in range(plan.num_steps):
        views = draw_views(domains, plan.pictures_per_step, rng)
        batch, visual = draw_batch(views, plan, rng, start_id=start_id, pad_id=pad_id)
        answer_loss, fact_loss = losses(model, facts, views, batch, visual)
        optimizer.step(step, answer_loss + plan.auxiliary_weight * fact_loss)
        report(step, float(answer_loss.detach()))
    model.eval()


def draw_views(
    domains: Mapping[str, Sequence[View]], number: int, rng: np.random.Generator
) -> list[View]:
    """Views from all domains alike."""
    names = list(domains)
    drawn = [domains[names[i]] for i in rng.integers(len(names), size=number)]
    return [views[int(rng.integers(len(views)))] for views in drawn]


def draw_batch(
    views: Sequence[View],
    plan: LanguagePlan,
    rng: np.random.Generator,
    *,
    start_id: int,
    pad_id: int,
) -> tuple[Packed, Tensor]:
    """Packed rows and their (B, K, D) float32 visual tokens, a random K of the V."""
    num_kept = max(4, round(NUM_VISUAL * KEEP_SHARES[rng.integers(len(KEEP_SHARES))]))
    kept = np.sort(rng.random((len(views), NUM_VISUAL)).argsort(axis=1)[:, :num_kept], axis=1)
    rows = draw_questions(views, plan, rng)
    packed = pack(rows, kept, num_visual=NUM_VISUAL, start_ids=(start_id,), pad_id=pad_id)
    visual = np.stack([v.tokens[v.row, k] for v, k in zip(views, kept, strict=True)])
    return packed, torch.from_numpy(visual).float()


def draw_questions(
    views: Sequence[View], plan: LanguagePlan, rng: np.random.Generator
) -> list[list[Segment]]:
    """Some questions of each view."""
    rows = []
    for view in views:
        number = min(plan.questions_per_picture, len(view.segments))
        order = rng.choice(len(view.segments), number, replace=False, p=view.chances)
        rows.append([view.segments[i] for i in order])
    return rows


def embed(model: LlavaForConditionalGeneration, packed: Packed, visual: Tensor) -> Tensor:
    """(B, T, W) input embeddings, with the projected visual tokens after the start token."""
    words = model.model.language_model.embed_tokens(packed.input_ids)
    return spliced(words, model.model.multi_modal_projector(visual))


def losses(
    model: LlavaForConditionalGeneration,
    facts: nn.Linear,
    views: Sequence[View],
    packed: Packed,
    visual: Tensor,
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of the answer tokens, and of shape and colour read half-way."""
    output = model.model.language_model(
        inputs_embeds=embed(model, packed, visual),
        attention_mask=packed.mask,
        position_ids=packed.position_ids,
        output_hidden_states=True,
        use_cache=False,
    )
    wanted = packed.labels != IGNORE
    logits = model.lm_head(output.last_hidden_state[wanted])
    answer_loss = F.cross_entropy(logits, packed.labels[wanted])

    middle = output.hidden_states[len(output.hidden_states) // 2][packed.question_ends]
    picture = packed.question_ends.nonzero()[:, 0]
    shapes = torch.tensor([view.shape for view in views])[picture]
    colours = torch.tensor([view.colour for view in views])[picture]
    read = facts(middle)
    fact_loss = F.cross_entropy(read[:, :NUM_SHAPES], shapes) + F.cross_entropy(
        read[:, NUM_SHAPES:], colours
    )
    return answer_loss, fact_loss
