"""Settings of watches: one `[[watches]]` table each."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from driftline_device.sinks.settings import NAME
from driftline_device.watches.quiet import parse_span
from driftline_shared.program.section import Section, setting


class WatchConfig(Section):
    """A rule on answers. Where it says several things of an answer, all must be so."""

    name: str = Field(pattern=NAME, description="of this watch")
    feeds: tuple[str, ...] = setting((), "only answers of these; none: of all")
    questions: tuple[str, ...] = setting((), "only answers to these; none: to all")
    equals: tuple[str, ...] = setting((), "the answer is one of these, whatever its case")
    changes: bool = setting(
        False, "the answer is another one than before; the first after a start is none"
    )
    uncertain_above: float | None = setting(None, "its uncertainty is above this, 0 to 1")
    uncertain_below: float | None = setting(None, "its uncertainty is below this, 0 to 1")
    in_a_row: int = setting(1, "so many answers in a row", ge=1, le=100_000)
    cooldown_s: float = setting(0.0, "fires no more for so long after it has", ge=0)
    quiet: tuple[str, ...] = setting(
        (), "hours of the day, in local time, in which it does not fire: `22:00-06:30`"
    )
    sinks: tuple[str, ...] = setting((), "what it fires; none: every sink")

    @field_validator("equals", "quiet", "feeds", "questions", "sinks", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("quiet")
    @classmethod
    def _spans(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_span(text)
        return value

    @model_validator(mode="after")
    def _says_something(self) -> WatchConfig:
        bounds = (self.uncertain_above, self.uncertain_below)
        if not (self.equals or self.changes or bounds != (None, None)):
            raise ValueError(
                f"the watch {self.name} says nothing of an answer: give equals, changes, "
                "uncertain_above or uncertain_below"
            )
        return self
