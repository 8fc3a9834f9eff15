"""Clips of a source of single pictures, for pairs that read several at once: `ClipSource`.

A clip is as many pictures as the pair reads, one behind the other, as the source chooses them; the
next one begins where it ends, or a fixed time after it began, and then the two share pictures. What
is held is one window of pictures on the pair's canvas, however large they came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import structlog
from numpy.typing import NDArray

from driftline_device.runtime.runtime import Question
from driftline_device.sources.source import Source
from driftline_shared.program.section import Section, setting

_SLACK_S = 1e-6
"""Times are sums of fractions: a clip must not miss its turn by a rounding."""

_FRAME_S = 1.0
"""From one picture of a folder to the next, where every frame of a video is wanted."""

_log = structlog.get_logger(__name__)

Picture = NDArray[np.uint8]
View = Callable[[Picture], Picture]


class ClipSettings(Section):
    """Clips of a pair that reads them. Times in seconds."""

    every_s: float = setting(
        0.0,
        "a clip begins so long after the one before did, and shares pictures with it where that is "
        "less than a clip's length; 0: where that one ended",
        ge=0,
    )
    max_gap_s: float = setting(
        10.0,
        "where a video or camera has no picture for so much longer than `frames.every_s`, a clip "
        "begins anew: it shows no two scenes; 0, and with `frames.min_change`: any gap",
        ge=0,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipPlan:
    """Clips of `num` pictures, each brought to (`height`, `width`). `every_s`, `max_gap_s`: as in
    `ClipSettings`. `frame_s`: from one picture to the next, where nobody knows the times.
    """

    num: int
    height: int
    width: int
    every_s: float = 0.0
    max_gap_s: float = 0.0
    frame_s: float = 1.0

    def fitted(self, picture: Picture) -> Picture:
        """(H, W, 3) on the canvas, as the model itself would bring it there: by Pillow, bicubic."""
        from PIL import Image

        if picture.shape[:2] == (self.height, self.width):
            return picture
        size = (self.width, self.height)
        resized = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
        return np.asarray(resized, dtype=np.uint8)


class ClipSource:
    """Questions about clips of the pictures that `inner` gives, with its words.

    `view`: the part of a picture that is looked at. What is left at the end is no clip; a clip's
    place names its first and its last picture.
    """

    def __init__(self, inner: Source, plan: ClipPlan, *, view: View | None = None) -> None:
        self.inner = inner
        self._plan = plan
        self._view = view
        self.num_cut = 0
        """Times that a clip began anew because of a gap."""

    @property
    def name(self) -> str:
        """That of the source."""
        return self.inner.name

    @property
    def num_broken(self) -> int:
        """Pictures left out so far."""
        return self.inner.num_broken

    def __iter__(self) -> Generator[Question | None, None, None]:
        """Clips as they become whole, None where the source has nothing more for now."""
        window, num_clips = _Window(self._plan), 0
        with closing(iter(self.inner)) as rows:
            for row in rows:
                if row is None:
                    yield None
                    continue
                picture = row.image if self._view is None else self._view(row.image)
                gap_s = window.add(replace(row, image=self._plan.fitted(picture)))
                if gap_s is not None:
                    self.num_cut += 1
                    _log.info("clip.begun_anew", place=row.place, gap_s=round(gap_s, 1))
                clip = window.take()
                if clip is not None:
                    num_clips += 1
                    yield clip
        if not num_clips:
            _log.warning(
                "source.too_short_for_a_clip",
                source=self.name,
                num_pictures=window.num,
                num_needed=self._plan.num,
                fix="Nothing was asked about it; a smaller frames.every_s gives more frames of a "
                "video.",
            )


class _Window:
    """The newest pictures in a row, each with its time. `num`: pictures that came so far."""

    def __init__(self, plan: ClipPlan) -> None:
        self._plan = plan
        self._held: deque[tuple[float, Question]] = deque(maxlen=plan.num)
        self._due_s: float | None = None
        self.num = 0

    def add(self, row: Question) -> float | None:
        """Put `row` at the end; how many seconds it came too late, or too early, to be of the
        same clip.
        """
        plan, gap_s = self._plan, None
        at_s = self.num * (plan.frame_s or _FRAME_S) if row.at_s is None else row.at_s
        self.num += 1
        if self._held and plan.max_gap_s and row.at_s is not None:
            late_s = at_s - self._held[-1][0] - plan.frame_s
            gap_s = late_s if late_s > plan.max_gap_s else None
        if self._held and at_s < self._held[-1][0]:
            gap_s = at_s - self._held[-1][0]  # a source that begins again
        if gap_s is not None:
            self._held.clear()
            self._due_s = None
        self._held.append((at_s, row))
        return gap_s

    def take(self) -> Question | None:
        """The clip, if it is whole and due."""
        plan, held = self._plan, self._held
        if len(held) < plan.num:
            return None
        began_s = held[0][0]
        if self._due_s is not None and began_s < self._due_s - _SLACK_S:
            return None
        (_, first), (_, last) = held[0], held[-1]
        images = np.stack([row.image for _, row in held])
        if not plan.every_s:
            held.clear()
        elif self._due_s is not None and began_s < self._due_s + plan.every_s:
            self._due_s += plan.every_s  # a fixed rate does not drift with the times of the frames
        else:
            self._due_s = began_s + plan.every_s
        return replace(last, image=images, truth=None, place=_span(first.place, last.place))


def _span(first: str, last: str) -> str:
    """From one place to another; what both begin with, up to a time, a number or the name of a file
    in the same folder, stands once.
    """
    for mark in "@#/":
        head, found, tail = last.rpartition(mark)
        if found and first.rpartition(mark)[0] == head:
            return f"{first}..{tail}"
    return f"{first}..{last}"
