"""A batch that does not fit into memory is halved until it does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from driftline_cloud.distill.passes import in_memory

CPU = RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 17")


@pytest.mark.parametrize(
    "error", [MemoryError(), CPU, torch.OutOfMemoryError("CUDA out of memory")]
)
@pytest.mark.parametrize("room", [1, 3, 7, 8])
def test_what_does_not_fit_is_halved(error: Exception, room: int) -> None:
    tried: list[int] = []

    def work(rows: Sequence[int]) -> int:
        tried.append(len(rows))
        if len(rows) > room:
            raise error
        return sum(rows)

    batch = list(range(7))
    found = list(in_memory(batch, work))
    assert [row for rows, _ in found for row in rows] == batch
    assert sum(done for _, done in found) == sum(batch)
    assert tried[0] == 7
    if room >= 7:
        assert tried == [7]


def test_a_row_that_does_not_fit_alone_ends_it() -> None:
    def work(rows: Sequence[int]) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        list(in_memory([1, 2, 3], work))


def test_another_error_is_no_want_of_memory() -> None:
    tried: list[int] = []

    def work(rows: Sequence[int]) -> None:
        tried.append(len(rows))
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        list(in_memory([1, 2, 3], work))
    assert tried == [3]
