"""One teacher-forced pass of a model over examples of one K, cut down to what the losses read; and
batches that fit into memory: one that does not is halved and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import structlog
import torch
from torch import Tensor

from driftline_cloud.distill.examples import Example
from driftline_shared.models.multimodal import LmBatch, MultimodalModel, answer_places

_log = structlog.get_logger(__name__)

Done = TypeVar("Done")

_CPU_WORDS = ("can't allocate memory", "not enough memory")
"""How torch's allocator of the CPU says it, in a plain RuntimeError."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """B examples with N answer tokens in all, laid end to end in the order of the rows.

    `projected` (B, K, D); `logits` (N, C) and `hidden` (N, D) at the places that predict the
    answer's tokens; `labels` (N,) those tokens; `lengths` answer tokens of each row, in the model's
    own vocabulary.
    """

    projected: Tensor
    logits: Tensor
    hidden: Tensor
    labels: Tensor
    lengths: list[int]


def visual(model: MultimodalModel, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Projected tokens (B, K, D) and positions (B, K) of examples that all have the same K."""
    # Copied into torch's own memory: numpy's alignment varies, and sums in BLAS can follow it.
    values = torch.stack([torch.tensor(example.values) for example in examples])
    positions = torch.stack([torch.tensor(example.positions) for example in examples])
    return model.project(values.to(model.device)), positions.to(model.device)


def run(model: MultimodalModel, examples: Sequence[Example]) -> Pass:
    """One pass over examples that all have the same K and an answer."""
    projected, positions = visual(model, examples)
    questions = [example.question for example in examples]
    answers = [example.answer for example in examples]
    batch = model.batch(projected, positions, questions, answers)
    asked = answer_places(batch)
    output = model.forward(batch, asked)
    return Pass(
        projected=projected,
        logits=output.logits,
        hidden=output.hidden.float(),
        labels=batch.labels[:, 1:][asked[:, :-1]],
        lengths=[int(count) for count in asked.sum(dim=1)],
    )


def prompt(model: MultimodalModel, examples: Sequence[Example]) -> LmBatch:
    """Examples of one K, ready to generate."""
    projected, positions = visual(model, examples)
    return model.batch(projected, positions, [example.question for example in examples])


@contextmanager
def fixed_threads(threads: int) -> Iterator[None]:
    """Inside, torch works with so many threads: how sums are split decides their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_memory(
    batch: Sequence[int], work: Callable[[Sequence[int]], Done]
) -> Iterator[tuple[Sequence[int], Done]]:
    """(part of the batch, what `work` made of it), in order: the whole, where it fits.

    A batch that fits always does, so that results stay the same on a machine with room; where it is
    halved, last bits may differ. Raises what `work` does for a single row that does not fit.
    """
    waiting = [batch]
    while waiting:
        some = waiting.pop()
        try:
            done = work(some)
        except (MemoryError, RuntimeError) as error:
            if len(some) < 2 or not is_out_of_memory(error):
                raise
            _log.warning("batch.halved", rows=len(some), error=str(error).partition("\n")[0])
        else:
            yield some, done
            continue
        # Outside of the handler: its error holds the tensors of the try that failed.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = (len(some) + 1) // 2
        waiting += [some[half:], some[:half]]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it is for want of memory that torch, or Python, gave up."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _CPU_WORDS)
