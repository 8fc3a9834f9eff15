"""The newest checkpoint of one training: what is found of it, and when the next is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from driftline_cloud.distill.checkpoints.form import Checkpoint, from_bytes, job_digest, to_bytes
from driftline_cloud.distill.checkpoints.kept import Checkpoints
from driftline_cloud.distill.checkpoints.state import Array
from driftline_cloud.distill.examples import Example
from driftline_cloud.jobs import DistillJob
from driftline_shared.errors import DataError

_log = structlog.get_logger(__name__)

MOST_PER_BYTE = 8
"""Bytes of a checkpoint to one of the adapter: weights, two moments, the mean, the alignments."""

MOST_BESIDE = 256 << 20
"""Bytes of a checkpoint for all else: further questions with their answers, the alignments."""

LEAST_TIMES = 20
"""A checkpoint that took long to keep is not made again before so many times that long."""


class Newest:
    """Of `job`; `checkpoints` None: nothing is found, nothing kept."""

    def __init__(self, job: DistillJob, checkpoints: Checkpoints | None) -> None:
        self._checkpoints = checkpoints
        self._extra: list[list[Any]] = []
        self._found: Checkpoint | None = None
        if checkpoints is not None:
            self._job = job_digest(job)
            most = MOST_PER_BYTE * sum(array.nbytes for array in job.start.values()) + MOST_BESIDE
            self._found = self._load(checkpoints.load(most))
            self._due_s = time.monotonic() + checkpoints.every_s

    @property
    def found(self) -> Checkpoint | None:
        """What was kept of this very job; None: nothing that is of use."""
        return self._found

    def ignore(self, cause: str) -> None:
        """What was found is of no use: the training begins anew."""
        _log.warning("checkpoint.ignored", cause=cause)
        self._found = None

    def extra(self, asked: Sequence[Example], ask: Callable[[], list[Example]]) -> list[Example]:
        """Further questions about `asked`: those of the checkpoint, else what `ask` gives; they are
        part of each checkpoint from now on. Both hold the very arrays of `asked`.
        """
        found = None if self._found is None else self._extra_of(self._found, asked)
        if found is None:
            found = ask()
        place = {id(example.values): number for number, example in enumerate(asked)}
        self._extra = [[place[id(one.values)], one.question, list(one.answer)] for one in found]
        return found

    def keep(self, take: Callable[[], tuple[Mapping[str, Any], Mapping[str, Array]]]) -> None:
        """Keep what `take` gives (what JSON holds, arrays), where the next checkpoint is due."""
        if self._checkpoints is None or time.monotonic() < self._due_s:
            return
        begun_s = time.monotonic()
        state, arrays = take()
        whole = Checkpoint(job=self._job, state={**state, "extra": self._extra}, arrays=arrays)
        self._checkpoints.save(to_bytes(whole))
        now_s = time.monotonic()
        self._due_s = now_s + max(self._checkpoints.every_s, LEAST_TIMES * (now_s - begun_s))

    def _load(self, content: bytes | None) -> Checkpoint | None:
        if content is None:
            return None
        try:
            found = from_bytes(content)
            if found.job != self._job:
                raise DataError("it is of another job: other samples, labels, settings or start")
        except DataError as error:
            self.ignore(str(error))
            return None
        return found

    def _extra_of(self, found: Checkpoint, asked: Sequence[Example]) -> list[Example] | None:
        try:
            rows = [
                (int(number), str(question), tuple(int(token) for token in answer))
                for number, question, answer in found.state["extra"]
            ]
            if not all(0 <= number < len(asked) for number, _, _ in rows):
                raise ValueError("a sample that is none")
        except (KeyError, TypeError, ValueError) as error:
            self.ignore(f"its further questions cannot be read: {error}")
            return None
        return [replace(asked[number], question=q, answer=a) for number, q, a in rows]
