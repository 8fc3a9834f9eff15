"""The sources that a configuration names, or its feeds: pictures, or the clips a pair reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from driftline_device.config import DeviceConfig
from driftline_device.feeds.table import NEWEST_ONLY, open_feeds, read_ahead
from driftline_device.sources.clips import ClipPlan, View
from driftline_device.sources.source import Source
from driftline_device.sources.table import SourceSettings, open_all, open_source, parse_address
from driftline_shared.bounds import check_question
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.pair.pair import Canvas


def open_sources(
    texts: Sequence[str], config: DeviceConfig, canvas: Canvas | None = None
) -> list[Source]:
    """All sources, before anything heavy is loaded; DataError or ConfigError for a wrong one.

    None are named: the feeds of the configuration, as one; both are an error. `canvas`: the pair's;
    one with several frames makes clips of the pictures.
    """
    clips = _clip_plan(config, canvas)
    if config.question.strip():
        try:
            check_question(config.question)
        except DataError as error:
            raise ConfigError(f"question: {error}") from error
    if texts and config.feeds:
        names = ", ".join(feed.name for feed in config.feeds)
        raise ConfigError(
            f"--source and [[feeds]] ({names}) are both given",
            fix="Leave --source out, and the feeds are read; or make it a feed, or run it with a "
            "configuration without feeds.",
        )
    if config.feeds:
        opened = partial(_open_source, config, clips)
        return [open_feeds(config.feeds, config.question, opened, clips=clips is not None)]
    sources = open_all(texts, _source_settings(config, clips, config.question, None))
    if clips is None:
        return sources
    kinds = [parse_address(str(text)).kind for text in texts]
    return [
        read_ahead(source) if kind in NEWEST_ONLY else source
        for kind, source in zip(kinds, sources, strict=True)
    ]


def reads_clips(canvas: Canvas | None) -> bool:
    """Whether a pair with this canvas reads clips rather than pictures."""
    return canvas is not None and canvas.frames > 1


def _clip_plan(config: DeviceConfig, canvas: Canvas | None) -> ClipPlan | None:
    """Clips as the pair reads them; ConfigError where they are wanted and it reads none."""
    if canvas is None or not reads_clips(canvas):
        if config.clip.every_s:
            raise ConfigError(
                "clip.every_s is set, but the pair reads single pictures",
                fix="Leave it out, or run a pair that reads clips: one whose pair.toml has "
                "`image = {..., frames = N}` and whose family reads them (docs/models.md).",
            )
        return None
    return ClipPlan(
        num=canvas.frames,
        height=canvas.height,
        width=canvas.width,
        every_s=config.clip.every_s,
        # Where frames are chosen by what changes, a scene without change is no gap.
        max_gap_s=0.0 if config.frames.min_change else config.clip.max_gap_s,
        frame_s=config.frames.every_s,
    )


def _open_source(
    config: DeviceConfig,
    clips: ClipPlan | None,
    text: str,
    question: str,
    every_s: float | None,
    *,
    view: View | None = None,
) -> Source:
    return open_source(text, _source_settings(config, clips, question, every_s), view=view)


def _source_settings(
    config: DeviceConfig, clips: ClipPlan | None, question: str, every_s: float | None
) -> SourceSettings:
    frames = config.frames
    if every_s is not None:
        frames = frames.model_copy(update={"every_s": every_s})
        clips = None if clips is None else replace(clips, frame_s=every_s)
    return SourceSettings(
        question=question,
        frames=frames,
        folder=config.folder,
        max_pixels=config.max_pixels,
        clips=clips,
    )
