"""Answers against the owner's watches: which fire, why, and what their sinks are told."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import partial

from driftline_device.sinks.event import WATCH, AnswerRecord, Event, iso_time
from driftline_device.watches.quiet import is_quiet, parse_span
from driftline_device.watches.rule import Firing, Rule, Seen, State, step
from driftline_device.watches.settings import WatchConfig
from driftline_shared.exact_match import normalise

MAX_STREAMS = 1000
"""Streams (a feed and a question) that one watch remembers; the longest silent is forgotten."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fired:
    """An event, and the sinks that get it; none: all."""

    event: Event
    sinks: tuple[str, ...]


class Watching:
    """All watches of a device; one thread at a time. What they remember ends with the process."""

    def __init__(self, watches: Sequence[WatchConfig], zone: tzinfo | None = None) -> None:
        self._watches = [_Watch(each, zone) for each in watches]

    def answered(self, record: AnswerRecord) -> list[Fired]:
        """The watches that fire at this answer."""
        found = (watch.answered(record) for watch in self._watches)
        return [fired for fired in found if fired is not None]


class _Watch:
    def __init__(self, config: WatchConfig, zone: tzinfo | None) -> None:
        self._config = config
        self._zone = zone
        self._quiet = [parse_span(text) for text in config.quiet]
        self._states: OrderedDict[tuple[str, str], State] = OrderedDict()
        self._rule = Rule(
            holds=partial(_holds, config, frozenset(map(normalise, config.equals))),
            on_change=config.changes,
            in_a_row=config.in_a_row,
            cooldown_s=config.cooldown_s,
        )

    def answered(self, record: AnswerRecord) -> Fired | None:
        config, stream = self._config, (record.feed, record.question)
        if config.feeds and record.feed not in config.feeds:
            return None
        if config.questions and record.question not in config.questions:
            return None
        seen = Seen(
            answer=normalise(record.answer),
            uncertainty=record.uncertainty,
            at_s=record.unix_s,
            quiet=is_quiet(self._quiet, record.unix_s, self._zone),
        )
        state, firing = step(self._rule, self._states.pop(stream, State()), seen)
        self._states[stream] = state
        if len(self._states) > MAX_STREAMS:
            self._states.popitem(last=False)
        if firing is None:
            return None
        return Fired(event=_event(config, record, firing), sinks=config.sinks)


def _holds(config: WatchConfig, equals: frozenset[str], answer: str, uncertainty: float) -> bool:
    """`answer` is normalised; an uncertainty that is not a number is neither above nor below."""
    if equals and answer not in equals:
        return False
    above, below = config.uncertain_above, config.uncertain_below
    return (above is None or uncertainty > above) and (below is None or uncertainty < below)


def _event(config: WatchConfig, record: AnswerRecord, firing: Firing) -> Event:
    why = _why(config, record, firing)
    body = {
        "kind": WATCH,
        "id": f"{record.id}-{config.name}",
        "time": iso_time(record.unix_s),
        "watch": config.name,
        "why": why,
        "text": f"{config.name}: {why}  ({record.place or record.feed}  {record.question})",
        "answer_id": record.id,
        "before": firing.before,
    }
    about = ("feed", "source", "place", "question", "answer", "uncertainty", "version")
    published = record.published()
    return Event(
        id=str(body["id"]),
        kind=WATCH,
        feed=record.feed,
        question=record.question,
        body=body | {key: published[key] for key in about},
    )


def _why(config: WatchConfig, record: AnswerRecord, firing: Firing) -> str:
    if firing.before is not None:
        said = f"the answer changed from {firing.before!r} to {record.answer!r}"
    else:
        said = f"the answer is {record.answer!r}"
    if config.uncertain_above is not None:
        said += f", its uncertainty {record.uncertainty:.3f} above {config.uncertain_above:g}"
    if config.uncertain_below is not None:
        said += f", its uncertainty {record.uncertainty:.3f} below {config.uncertain_below:g}"
    return said + (f", {firing.num_in_a_row} in a row" if config.in_a_row > 1 else "")
