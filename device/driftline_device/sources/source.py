"""The Source protocol: where questions come from, one after the other."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol, runtime_checkable

from driftline_device.runtime.runtime import Question
from driftline_device.sources.left_out import LeftOut
from driftline_shared.pictures import MAX_PIXELS as MAX_PIXELS
from driftline_shared.pictures import read_image as read_image

IDLE_S = 0.1
"""Longest time for which a live source keeps its reader waiting."""

BROKEN_FIX = "Correct or replace what is named; the rest is used."
"""What to do about a row or an image that a source left out."""


class Source(Protocol):
    """A named stream of questions; broken rows are logged and left out."""

    @property
    def name(self) -> str:
        """For people: the segment."""

    @property
    def num_broken(self) -> int:
        """Rows left out so far."""

    def __iter__(self) -> Generator[Question | None, None, None]:
        """From the start. Closing the iterator lets go of everything it holds.

        A live source yields None where it has nothing more for now: at once after a question,
        else after `IDLE_S` at most, so that whoever reads can stop, and never waits for a batch.
        """


@runtime_checkable
class FolderLike(Protocol):
    """A source that passes over files of unknown kind."""

    left_out: LeftOut


@runtime_checkable
class Around(Protocol):
    """A source that hands on what another one gives."""

    inner: Source


@runtime_checkable
class OfFeeds(Protocol):
    """A source that is several feeds."""

    def states(self) -> dict[str, dict[str, Any]]:
        """Each by name, in JSON's terms."""


def feed_states(source: Source) -> dict[str, dict[str, Any]]:
    """How the feeds of `source` are; empty for one that is no feeds."""
    return source.states() if isinstance(source, OfFeeds) else {}


def num_left_out(source: Source) -> int:
    """Files of unknown kind that `source` passed over so far."""
    if isinstance(source, Around):
        source = source.inner
    return source.left_out.num if isinstance(source, FolderLike) else 0
