"""From `[[feeds]]` to the source that reads them all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

from driftline_device.feeds.fair import FairFeeds
from driftline_device.feeds.reader import FeedPlan
from driftline_device.feeds.region import cut
from driftline_device.feeds.settings import FeedConfig
from driftline_device.sources.clips import View
from driftline_device.sources.source import Source
from driftline_device.sources.table import parse_address
from driftline_shared.bounds import check_question
from driftline_shared.errors import ConfigError, DataError

WITH_FRAMES = ("stream", "camera", "video")
"""Kinds of sources that choose frames themselves, by `frames.every_s`."""

NEWEST_ONLY = ("stream", "camera")
"""Kinds of which an old picture is of no use."""


class Open(Protocol):
    """Opens the source that `text` names; `every_s`: seconds between frames (None: as usual);
    `view`: the part of each picture that clips are made of.
    """

    def __call__(
        self, text: str, question: str, every_s: float | None, *, view: View | None = None
    ) -> Source: ...


def open_feeds(
    feeds: Sequence[FeedConfig], question: str, open_source: Open, *, clips: bool = False
) -> FairFeeds:
    """All feeds as one source; ConfigError for what no time heals, such as a missing question.

    What is away now is opened again later. `question`: of feeds without their own. `clips`: whether
    sources give clips, which are made of the region alone.
    """
    return FairFeeds([_plan(feed, question, open_source, clips) for feed in feeds])


def read_ahead(source: Source) -> FairFeeds:
    """A camera whose clips go on while an answer is made: of those that wait the newest stays."""
    plan = FeedPlan(name=source.name, open=lambda: source, newest_only=True)
    return FairFeeds([plan], name=source.name)


def standing(feeds: Sequence[FeedConfig], question: str) -> list[tuple[str, str]]:
    """(feed, question) of each question that is asked again and again."""
    return [(feed.name, text) for feed in feeds for text in _texts(feed, question)]


def _texts(feed: FeedConfig, question: str) -> tuple[str, ...]:
    return feed.questions or ((question,) if question.strip() else ())


def _plan(feed: FeedConfig, question: str, open_source: Open, clips: bool) -> FeedPlan:
    texts = _texts(feed, question)
    kind = _kind(feed.source)
    if not texts and kind != "dataset":
        raise ConfigError(f"feeds.{feed.name}: give `questions` to ask about each picture")
    for text in texts:
        try:
            check_question(text)
        except DataError as error:
            raise ConfigError(f"feeds.{feed.name}: {error}") from error
    every_s = feed.every_s if kind in WITH_FRAMES else None
    of_clips = clips and kind != "dataset"
    view = partial(cut, region=feed.region) if of_clips and feed.region is not None else None
    opened = partial(open_source, feed.source, texts[0] if texts else "", every_s, view=view)
    with suppress(DataError):  # its reader says so, and tries it again
        opened()
    return FeedPlan(
        name=feed.name,
        open=opened,
        texts=() if kind == "dataset" and not feed.questions else texts,
        region=None if of_clips else feed.region,
        newest_only=kind in NEWEST_ONLY,
        every_s=0.0 if kind in WITH_FRAMES else feed.every_s or 0.0,
    )


def _kind(source: str) -> str:
    """Of a source; a place that is not there now is taken for a folder."""
    try:
        return parse_address(source).kind
    except DataError:
        return "folder"
