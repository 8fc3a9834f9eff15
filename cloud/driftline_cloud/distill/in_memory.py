"""Batches that fit into memory: one that does not is halved and goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import structlog
import torch

_log = structlog.get_logger(__name__)

Done = TypeVar("Done")

_CPU_WORDS = ("can't allocate memory", "not enough memory")
"""How torch's allocator of the CPU says it, in a plain RuntimeError."""


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
