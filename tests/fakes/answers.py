"""Follows the answers of a daemon from a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from driftline_device.daemon.answering import Answering


@contextmanager
def answers_followed(follow: Callable[[Any, Any], None] | None) -> Iterator[None]:
    """Calls `follow` with each question and its answer, before that is sampled and counted."""
    real = Answering._finish

    def finish(self: Answering, question: Any, answer: Any, *others: Any) -> None:
        if follow is not None:
            follow(question, answer)
        real(self, question, answer, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Answering, "_finish", finish)
        yield
