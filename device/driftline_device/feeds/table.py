"""From `[[feeds]]` to the source that reads them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from driftline_device.feeds.fair import FairFeeds
from driftline_device.feeds.reader import FeedPlan
from driftline_device.feeds.settings import FeedConfig
from driftline_device.sources.source import Source
from driftline_device.sources.table import parse_address
from driftline_shared.bounds import check_question
from driftline_shared.errors import ConfigError, DataError

WITH_FRAMES = ("stream", "camera", "video")
"""Kinds of sources that choose frames themselves, by `frames.every_s`."""

NEWEST_ONLY = ("stream", "camera")
"""Kinds of which an old picture is of no use."""

Open = Callable[[str, str, float | None], Source]
"""Opens the source that a text names, with a question and seconds between frames (None: usual)."""


def open_feeds(feeds: Sequence[FeedConfig], question: str, open_source: Open) -> FairFeeds:
    """All feeds as one source; ConfigError for what no time heals, such as a missing question.

    What is away now is opened again later. `question`: of feeds without their own.
    """
    return FairFeeds([_plan(feed, question, open_source) for feed in feeds])


def standing(feeds: Sequence[FeedConfig], question: str) -> list[tuple[str, str]]:
    """(feed, question) of each question that is asked again and again."""
    return [(feed.name, text) for feed in feeds for text in _texts(feed, question)]


def _texts(feed: FeedConfig, question: str) -> tuple[str, ...]:
    return feed.questions or ((question,) if question.strip() else ())


def _plan(feed: FeedConfig, question: str, open_source: Open) -> FeedPlan:
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
    opened = partial(open_source, feed.source, texts[0] if texts else "", every_s)
    with suppress(DataError):  # its reader says so, and tries it again
        opened()
    return FeedPlan(
        name=feed.name,
        open=opened,
        texts=() if kind == "dataset" and not feed.questions else texts,
        region=feed.region,
        newest_only=kind in NEWEST_ONLY,
        every_s=0.0 if kind in WITH_FRAMES else feed.every_s or 0.0,
    )


def _kind(source: str) -> str:
    """Of a source; a place that is not there now is taken for a folder."""
    try:
        return parse_address(source).kind
    except DataError:
        return "folder"
