"""Trains projector and language model of one LLaVA on cached tokens, packed by picture.

Loss: cross-entropy on answer tokens only. A model that is shown all 64 tokens from the start does
not learn to look a square up: one key in 64 has to be found before any gradient tells which. So
training begins with a few tokens, and asks about what stands on their squares. Then any number of
tokens is shown and all is asked; of a small part half of the questions are about squares that are
in it, and the others teach what may be said when the square is not.

An auxiliary head, dropped after training, reads the piece from the word of its square half-way
through the layers: it tells the first layer early that what it looked up has a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from driftline_lab.data.boards.positions import SQUARES
from driftline_lab.data.boards.questions import Asked, Kind, about_square, questions
from driftline_lab.data.boards.sets import PIECES
from driftline_lab.recipes.boards.language import NUM_VISUAL
from driftline_lab.recipes.boards.token_cache import Boards
from driftline_lab.recipes.packing import IGNORE, Packed, Segment, pack, spliced
from driftline_lab.recipes.training import Optimizer, Report, Schedule

FIRST_TOKENS = (2, 3, 5, 8, 12, 20)
LATER_TOKENS = (64, 64, 64, 64, 32, 16, 6, 3)
TAUGHT_SHARES = {Kind.PIECE: 0.45, Kind.COLOUR: 0.15, Kind.COUNT: 0.2, Kind.RANK: 0.2}
"""Of questions about all tokens: counts and ranks are learnt late at the shares of the world."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardsPlan(Schedule):
    """How a language model is trained; `first_steps` of them in the first phase.

    `auxiliary_weight`: of what the dropped head reads.
    """

    pictures_per_step: int = 16
    questions_per_picture: int = 16
    warmup_steps: int = 50
    first_steps: int = 80
    auxiliary_weight: float = 0.5

    def resized(self, num_steps: int, *, seed: int) -> BoardsPlan:
        """The same plan over another number of steps, its phases in proportion."""
        share = num_steps / self.num_steps
        return replace(
            self,
            num_steps=num_steps,
            seed=seed,
            warmup_steps=round(self.warmup_steps * share),
            first_steps=round(self.first_steps * share),
        )


class Encoder:
    """Turns questions and answers into segments; each text is encoded once."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self._ids: dict[str, tuple[int, ...]] = {}
        self.square_of = torch.full((len(tokenizer),), -1)
        """(vocabulary,) the square that a token names; -1: none."""
        for square, name in enumerate(SQUARES):
            self.square_of[tokenizer.encode(f" {name}", add_special_tokens=False)[0]] = square

    def segment(self, asked: Asked) -> Segment:
        """The part of the prompt after `<image>`, and the answer with its end token."""
        end = int(self.tokenizer.eos_token_id)
        return Segment(
            question=self._of(f"{asked.question}\n"), answer=(*self._of(asked.answer), end)
        )

    def _of(self, text: str) -> tuple[int, ...]:
        if text not in self._ids:
            self._ids[text] = tuple(self.tokenizer.encode(text, add_special_tokens=False))
        return self._ids[text]


def train_language(
    model: LlavaForConditionalGeneration,
    domains: Sequence[Boards],
    plan: BoardsPlan,
    encoder: Encoder,
    report: Report,
    *,
    checkpoint: Path | None = None,
    checkpoint_steps: int = 100,
) -> None:
    """Trains in place; pictures come from all domains alike. Goes on where `checkpoint` was."""
    llava = model.model
    torch.manual_seed(plan.seed)
    pieces = nn.Linear(model.config.text_config.hidden_size, len(PIECES))
    modules = [llava.multi_modal_projector, llava.language_model, model.lm_head, pieces]
    optimizer = Optimizer(dict(nn.ModuleList(modules).named_parameters()), plan)
    done = optimizer.resume(checkpoint) if checkpoint else 0
    model.train()
    for step in range(done, plan.num_steps):
        batch = draw_batch(domains, plan, step, encoder)
        loss, piece_loss = losses(model, pieces, batch)
        optimizer.step(step, loss + plan.auxiliary_weight * piece_loss)
        if checkpoint and (step + 1) % checkpoint_steps == 0:
            optimizer.save(checkpoint, step + 1)
        report(step, float(loss.detach()))
    model.eval()


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Packed rows, their (B, K, D) float32 visual tokens, and where squares are named.

    `named` (n, 2): row and place of each square's name whose token is shown; `holds` (n,): what
    stands there, by code.
    """

    packed: Packed
    visual: Tensor
    named: Tensor
    holds: Tensor


def draw_batch(domains: Sequence[Boards], plan: BoardsPlan, step: int, encoder: Encoder) -> Batch:
    """The batch of a step; the same for a seed."""
    rng = np.random.default_rng([plan.seed, step])
    first = step < plan.first_steps
    sizes = FIRST_TOKENS if first else LATER_TOKENS
    num_kept = sizes[int(rng.integers(len(sizes)))]
    size = plan.pictures_per_step
    kept = np.sort(rng.random((size, NUM_VISUAL)).argsort(axis=1)[:, :num_kept], axis=1)
    rows, visual = [], []
    shown = np.full((size, NUM_VISUAL), IGNORE, dtype=np.int64)
    for row, places in enumerate(kept):
        boards = domains[int(rng.integers(len(domains)))]
        index = int(rng.integers(len(boards.numbers)))
        squares = boards.squares[index]
        asked = _ask(squares, places, plan, rng, first)
        rows.append([encoder.segment(each) for each in asked])
        visual.append(boards.tokens[index, places])
        shown[row, places] = squares[places]
    packed = pack(
        rows,
        kept,
        num_visual=NUM_VISUAL,
        start_ids=(int(encoder.tokenizer.bos_token_id),),
        pad_id=int(encoder.tokenizer.pad_token_id),
    )
    square = encoder.square_of[packed.input_ids]
    named = (square >= 0).nonzero()
    holds = torch.from_numpy(shown)[named[:, 0], square[named[:, 0], named[:, 1]]]
    return Batch(
        packed=packed,
        visual=torch.from_numpy(np.stack(visual)).float(),
        named=named[holds != IGNORE],
        holds=holds[holds != IGNORE],
    )


def losses(
    model: LlavaForConditionalGeneration, pieces: nn.Linear, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of the answer tokens, and of the pieces read half-way."""
    packed = batch.packed
    words = model.model.language_model.embed_tokens(packed.input_ids)
    output = model.model.language_model(
        inputs_embeds=spliced(words, model.model.multi_modal_projector(batch.visual)),
        attention_mask=packed.mask,
        position_ids=packed.position_ids,
        output_hidden_states=True,
        use_cache=False,
    )
    wanted = packed.labels != IGNORE
    answers = model.lm_head(output.last_hidden_state[wanted])
    answer_loss = F.cross_entropy(answers, packed.labels[wanted])
    if not len(batch.holds):
        return answer_loss, torch.zeros(())
    middle = output.hidden_states[len(output.hidden_states) // 2]
    read = pieces(middle[batch.named[:, 0], batch.named[:, 1]])
    return answer_loss, F.cross_entropy(read, batch.holds)


def _ask(
    squares: NDArray[np.int64],
    kept: NDArray[np.int64],
    plan: BoardsPlan,
    rng: np.random.Generator,
    first: bool,
) -> list[Asked]:
    number = plan.questions_per_picture
    if first:
        return _about(squares, kept, number, rng)
    if len(kept) == NUM_VISUAL:
        return questions(squares, number, rng, TAUGHT_SHARES)
    half = number // 2
    return _about(squares, kept, half, rng) + questions(squares, number - half, rng)


def _about(
    squares: NDArray[np.int64], kept: NDArray[np.int64], number: int, rng: np.random.Generator
) -> list[Asked]:
    """Questions about kept squares: what a square holds is drawn first."""
    holds = squares[kept]
    found = []
    for code in rng.choice(np.unique(holds), size=number):
        square = int(rng.choice(kept[holds == code]))
        kind = Kind.COLOUR if rng.random() < 0.25 else Kind.PIECE
        found.append(about_square(squares, square, kind))
    return found
