"""What a compressor itself takes of the time to the first token, measured at its hooks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from driftline_shared.models.compression.compressed_model import CompressedModel
from driftline_shared.models.compression.compressor import TokenCompressor
from driftline_shared.models.compression.driver import Driver
from driftline_shared.models.families.base import FamilyModel

LOOKING = ("on_frames", "block_bias", "on_block", "on_vision")
READING = ("on_embeds", "prefix", "on_layer", "route")
"""Hooks before and behind the projector that run before the first token; `rows_before` is timed
with the rows it asks for.
"""


@dataclass(kw_only=True)
class Stopwatch:
    """Seconds of one turn: in the method's hooks while it is `looking` at a picture and while it is
    `reading` a row, in `rows` of attention that it asked the driver for, in the `tower` and in the
    `projector`.
    """

    looking: float = 0.0
    reading: float = 0.0
    rows: float = 0.0
    tower: float = 0.0
    projector: float = 0.0

    def taken(self) -> Stopwatch:
        """What it shows; it starts at zero again."""
        shown = replace(self)
        self.looking = self.reading = self.rows = self.tower = self.projector = 0.0
        return shown

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Adds the time of its block to one of the five."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, name, getattr(self, name) + time.perf_counter() - start)


def watched(model: CompressedModel, watch: Stopwatch) -> CompressedModel:
    """The same model, its method's hooks and rows of attention timed."""
    kind = _watched_kind(model.compression.kind, watch)
    copy = CompressedModel(model.base, replace(model.compression, kind=kind))
    copy.driver = _WatchedDriver(decoder=model.driver.decoder, name=model.driver.name, watch=watch)
    return copy


@contextmanager
def watched_parts(model: FamilyModel, watch: Stopwatch) -> Iterator[None]:
    """Times tower and projector of a model while it is open."""
    handles = []
    parts = {
        "tower": model.net.model.vision_tower,
        "projector": model.net.model.multi_modal_projector,
    }
    for name, part in parts.items():
        starts: list[float] = []

        def begin(_module: Any, _given: Any, starts: list[float] = starts) -> None:
            starts.append(time.perf_counter())

        def end(
            _module: Any, _given: Any, _made: Any, name: str = name, starts: list[float] = starts
        ) -> None:
            setattr(watch, name, getattr(watch, name) + time.perf_counter() - starts.pop())

        handles += [part.register_forward_pre_hook(begin), part.register_forward_hook(end)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watched_kind(kind: type[TokenCompressor], watch: Stopwatch) -> type[TokenCompressor]:
    """A subclass whose own hooks are timed; what the method leaves alone stays left alone."""
    own: dict[str, Any] = {}
    for phase, hooks in (("looking", LOOKING), ("reading", READING)):
        for name in hooks:
            hook = getattr(kind, name)
            if hook is not getattr(TokenCompressor, name):
                own[name] = _timed(hook, watch, phase)
    return type(kind.__name__, (kind,), own)


def _timed(hook: Callable[..., Any], watch: Stopwatch, phase: str) -> Callable[..., Any]:
    def timed(self: TokenCompressor, *given: Any) -> Any:
        with watch.running(phase):
            return hook(self, *given)

    return timed


@dataclass(frozen=True, kw_only=True)
class _WatchedDriver(Driver):
    watch: Stopwatch

    def _rows(self, *given: Any) -> Tensor | None:
        with self.watch.running("rows"):
            return super()._rows(*given)
