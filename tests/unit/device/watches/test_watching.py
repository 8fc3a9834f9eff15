"""Watches as an owner writes them, on answers of several feeds."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from driftline_device.config import load_config
from driftline_device.sinks.publisher import Publisher
from driftline_device.sinks.sink import SinkStats
from driftline_device.watches.quiet import is_quiet, parse_span
from driftline_device.watches.settings import WatchConfig
from driftline_device.watches.watching import MAX_STREAMS, Watching
from driftline_shared.errors import ConfigError
from tests.unit.device.sinks.test_console import record

TEN_PM = datetime(2026, 11, 27, 22, 0, tzinfo=UTC).timestamp()


def watching(**config: object) -> Watching:
    given = WatchConfig.model_validate({"name": "w", **config})
    return Watching([given], UTC)


def reasons(of: Watching, *answers: object, **changes: object) -> list[str]:
    found = []
    for answer in answers:
        text, doubt = answer if isinstance(answer, tuple) else (answer, 0.1)
        for fired in of.answered(record(str(text), uncertainty=doubt, **changes)):
            found.append(str(fired.event.body["why"]))
    return found


def test_equals_whatever_the_case() -> None:
    assert reasons(watching(equals="Yes"), "no", " YES.", "yes", "no", "yes") == [
        "the answer is ' YES.'",
        "the answer is 'yes'",
    ]


def test_changes_and_how_many_in_a_row() -> None:
    of = watching(changes=True, in_a_row=2)
    found = reasons(of, "closed", "closed", "open", "closed", "open", "open", "open")
    assert found == ["the answer changed from 'closed' to 'open', 2 in a row"]


def test_unsure_and_sure() -> None:
    of = watching(uncertain_above=0.5)
    assert reasons(of, ("a", 0.4), ("a", 0.6), ("a", math.nan)) == [
        "the answer is 'a', its uncertainty 0.600 above 0.5"
    ]
    of = watching(equals=["yes"], uncertain_below=0.2)
    assert len(reasons(of, ("yes", 0.3), ("yes", 0.1), ("no", 0.1), ("yes", math.nan))) == 1


def test_streams_are_told_apart_and_chosen() -> None:
    of = watching(changes=True)
    assert reasons(of, "no", feed="door") == reasons(of, "yes", feed="gate") == []
    assert reasons(of, "yes", feed="door", question="bell?") == []
    assert len(reasons(of, "yes", feed="door")) == 1
    only = watching(equals="yes", feeds="door", questions="open?")
    assert reasons(only, "yes", feed="gate") == []
    assert reasons(only, "yes", question="bell?") == []
    assert len(reasons(only, "yes")) == 1


def test_quiet_hours_are_of_the_day_and_run_over_midnight() -> None:
    of = watching(equals="yes", quiet="22:00-06:30")
    assert reasons(of, "yes", unix_s=TEN_PM) == []
    assert reasons(of, "yes", unix_s=TEN_PM + 8.4 * 3600) == []
    assert len(reasons(of, "yes", unix_s=TEN_PM + 8.5 * 3600)) == 1
    spans = [parse_span("22:00-06:30"), parse_span("12:00-12:30")]
    assert is_quiet(spans, TEN_PM, UTC) and is_quiet(spans, TEN_PM - 36000, UTC)
    assert not is_quiet(spans, TEN_PM, timezone(timedelta(hours=-1)))


def test_streams_that_nobody_configured_cannot_fill_the_memory() -> None:
    of = watching(equals="yes")
    for number in range(MAX_STREAMS + 50):
        of.answered(record("yes", question=str(number)))
    assert len(of._watches[0]._states) == MAX_STREAMS


class Kept:
    def __init__(self, name: str) -> None:
        self.name = name
        self.events: list[str] = []

    def start(self) -> None: ...

    def offer(self, event: object) -> None:
        self.events.append(event.body["kind"])  # type: ignore[attr-defined]

    def close(self, timeout_s: float) -> bool:
        return True

    def stats(self) -> SinkStats:
        return SinkStats()


def test_each_fires_the_sinks_that_it_names_and_the_console() -> None:
    console, phone, log = Kept("console"), Kept("phone"), Kept("log")
    watches = [
        WatchConfig(name="one", equals=("yes",), sinks=("phone",)),
        WatchConfig(name="all", equals=("yes",)),
    ]
    publisher = Publisher(
        console=console, sinks=[phone, log], subscribed=[log], watching=Watching(watches, UTC)
    )
    publisher.answered(record("yes"))
    assert console.events == ["answer", "watch", "watch"]
    assert phone.events == ["watch", "watch"]
    assert log.events == ["answer", "watch"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "a"', "says nothing of an answer"),
        ("changes = true", "name"),
        ('name = "a"\nchanges = true\nquiet = "25:00-26:00"', "no span of a day"),
        ('name = "a"\nchanges = true\nsinks = "phone"', "'phone'.*no sink"),
        ('name = "a"\nchanges = true\n[[watches]]\nname = "a"\nchanges = true', "two watches"),
        ('name = "a"\nchange = true', "known are .*changes"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "device.toml"
    path.write_text(f"[[watches]]\n{text}\n")
    with pytest.raises(ConfigError, match=said):
        load_config(path, {}, {})
