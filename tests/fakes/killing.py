"""A kill between two writes, in the process of the test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

KILL = "kill"


class Killed(BaseException):
    """Nothing catches it, so the disk is as a kill leaves it."""


@contextmanager
def killed_at(num_writes: int) -> Iterator[list[str]]:
    """A kill at the write after so many: what puts a file in its place, or takes one away. The
    writes until then; with `KILL` at their end, if it came.
    """
    writes: list[str] = []

    def shim(real: Any, name: str) -> Any:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            if name == "unlink" and not os.path.lexists(path):
                return real(path, *arguments, **options)
            if len(writes) == num_writes:
                writes.append(KILL)
                raise Killed
            writes.append(f"{name} {Path(path).name}")
            return real(path, *arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "unlink", "link"):
            patch.setattr(os, name, shim(getattr(os, name), name))
        with suppress(Killed):
            yield writes
