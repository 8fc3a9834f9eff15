"""Settings of feeds: one `[[feeds]]` table each."""

from __future__ import annotations

from pydantic import Field, field_serializer, field_validator

from driftline_device.feeds.region import Region
from driftline_device.sinks.settings import NAME
from driftline_device.sources.address import without_secrets
from driftline_shared.program.section import Section, setting


class FeedConfig(Section):
    """A stream of pictures, and what is asked about each."""

    name: str = Field(pattern=NAME, description="of this feed")
    source: str = Field(min_length=1, description="what `--source` takes")
    questions: tuple[str, ...] = setting(
        (), "asked about each picture; none: `question`; rows of a data set bring their own"
    )
    region: Region | None = setting(
        None,
        "the part that is looked at: `[x, y, width, height]` in shares of the picture, from its "
        "top left",
    )
    every_s: float | None = setting(
        None,
        "at most one picture in so many seconds; not set: `frames.every_s`, files at once",
        ge=0,
    )
    sinks: tuple[str, ...] | None = setting(
        None, "that get its answers; not set: those with `answers = true`"
    )

    @field_validator("questions", "sinks", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("questions")
    @classmethod
    def _asks_something(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not text.strip() for text in value):
            raise ValueError("a question is empty")
        return value

    @field_serializer("source")
    def _without_secrets(self, value: str) -> str:
        return without_secrets(value) if "://" in value else value
