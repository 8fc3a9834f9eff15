"""`driftline lab trace`: what each command writes and what it refuses."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from driftline_lab.trace.cli import app
from driftline_lab.trace.cutting import parse_time
from driftline_shared.errors import ConfigError, DataError, DriftlineError
from driftline_shared.trace.event import EventKind, TraceEvent
from driftline_shared.trace.journal import Journal
from driftline_shared.trace.reader import open_trace
from driftline_shared.trace.writer import open_writer
from tests.fakes.traces import SUBJECT, answer_event, write_trace


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=True)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def run_json(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return found


def events_of(folder: Path) -> list[TraceEvent]:
    return list(open_trace(folder).events())


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """100 answers, half of each segment, of two devices."""
    write_trace(tmp_path / "trace", 100)
    return tmp_path / "trace"


def test_info_counts(trace: Path) -> None:
    found = run_json("info", trace)
    assert found["num_events"] == 100
    assert found["by_segment"] == {"day": 50, "night": 50}
    assert found["by_device"] == {"device-0": 50, "device-1": 50}
    assert found["by_outcome"] == {"confident": 85, "sent": 15}
    assert found["accuracy_by_domain"] == {"source": 0.66}
    assert (found["num_sent"], found["sample_bytes"]) == (15, 15 * 80)
    assert (found["num_missing"], found["unfinished"]) == (0, False)
    assert found["manifest"]["subject"]["pair"] == "tiny"
    assert "by_segment           day: 50, night: 50" in run("info", trace)


def test_head_shows_the_first_events(trace: Path) -> None:
    rows = [json.loads(line) for line in run("head", trace, "-n", 3).splitlines()]
    assert [row["sequence"] for row in rows] == [0, 1, 2]
    assert rows[0]["question"] == "what is number 0?"
    assert "coded" not in rows[0]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (["--rows", "10:20"], range(10, 20)),
        (["--rows", ":5"], range(5)),
        (["--rows", "95:"], range(95, 100)),
        (["--segment", "night"], range(50, 100)),
        (["--device", "device-1", "--rows", ":10"], range(1, 10, 2)),
        (["--since", "1700000090", "--until", "1700000095"], range(90, 95)),
        (["--until", "2023-11-14T22:13:23"], range(3)),
        (["--kind", "answer", "--domain", "source", "--rows", ":3"], range(3)),
    ],
)
def test_cut_keeps_what_was_asked_for(
    trace: Path, tmp_path: Path, options: list[str], kept: range
) -> None:
    found = run_json("cut", trace, tmp_path / "cut", *options)
    assert found["num_events"] == len(kept)
    assert events_of(tmp_path / "cut") == [answer_event(n, sequence=n) for n in kept]
    assert open_trace(tmp_path / "cut").manifest.derived == ("cut",)


def test_cut_can_leave_all_tokens_out(tmp_path: Path) -> None:
    write_trace(tmp_path / "trace", 8, all_codec="fp16", all_tokens=b"xx", grid=(1, 4, 4))
    run("cut", tmp_path / "trace", tmp_path / "cut", "--no-all-tokens")
    events = events_of(tmp_path / "cut")
    assert all(event.all_tokens is None and event.all_codec is None for event in events)
    assert events[7].coded == answer_event(7).coded


def test_merge_is_in_order_of_time(tmp_path: Path) -> None:
    later = replace(SUBJECT, source="camera:1")
    write_trace(tmp_path / "one", 20)
    write_trace(tmp_path / "two", 20, first=10, subject=later, device="device-2")
    found = run_json("merge", tmp_path / "one", tmp_path / "two", "--out", tmp_path / "all")
    assert found["num_events"] == 40
    events = events_of(tmp_path / "all")
    assert [event.sequence for event in events] == list(range(40))
    times = [event.wall_unix_s for event in events]
    assert times == sorted(times)
    subject = open_trace(tmp_path / "all").manifest.subject
    assert (subject.source, subject.recorder) == ("camera:0, camera:1", "device")


def test_merge_refuses_a_trace_and_its_cut(trace: Path, tmp_path: Path) -> None:
    run("cut", trace, tmp_path / "cut", "--rows", "40:60")
    with pytest.raises(DataError, match=r"cut holds events of .*trace: .* \(event 40\)"):
        run("merge", trace, tmp_path / "cut", "--out", tmp_path / "all")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize("key", ["token_space", "pair", "base_model"])
def test_merge_refuses_what_does_not_fit(tmp_path: Path, key: str) -> None:
    write_trace(tmp_path / "one", 5)
    write_trace(tmp_path / "two", 5, subject=replace(SUBJECT, **{key: "c" * 64}))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=key.replace("_", " ")):
        run("merge", tmp_path / "one", tmp_path / "two", "--out", tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_validate_passes_what_was_recorded_and_names_strange_files(trace: Path) -> None:
    (trace / "events" / "part-999999.parquet").write_bytes(b"")
    found = run_json("validate", trace)
    assert (found["num_events"], found["not_of_the_trace"]) == (100, ["part-999999.parquet"])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"trace_id": "no id"}, "trace_id is 'no id'"),
    ({"wall_unix_s": float("inf")}, "time is not finite"),
    ({"kind": EventKind.SAMPLE, "verdict": "lost"}, "verdict of a sample is 'lost'"),
    ({"answer": None}, "without its text"),
    ({"coded": None}, "come together"),
    ({"kept": (3, 3, 9)}, "kept does not rise"),
    ({"kept": (0, 3, 99)}, "kept does not rise"),
    ({"grid": None}, "grid is None"),
    ({"all_tokens": b"", "all_codec": "int2"}, "all_codec is 'int2'"),
    ({"scores": {str(n): 0.0 for n in range(99)}}, "99 scores"),
]


@pytest.mark.parametrize(("changes", "word"), WRONG, ids=lambda value: str(value)[:20])
def test_validate_names_part_and_row_of_a_value_that_cannot_be(
    tmp_path: Path, changes: dict[str, Any], word: str
) -> None:
    events = [answer_event(n) for n in range(7)]
    with open_writer(tmp_path / "trace", SUBJECT) as writer:
        writer.write_next([*events, answer_event(7, **changes)])
    with pytest.raises(DataError, match=r"part-000000.parquet, row 7 .event 7.:") as caught:
        run("validate", tmp_path / "trace")
    assert word in str(caught.value)


def test_validate_decodes_tokens_of_the_pair(trace: Path) -> None:
    with pytest.raises(DataError, match="token space"):
        run("validate", trace, "--pair", "tiny")


def test_anonymize_leaves_no_name_and_still_counts(trace: Path, tmp_path: Path) -> None:
    run("anonymize", trace, tmp_path / "out", "--salt", "pepper")
    before, after = events_of(trace), events_of(tmp_path / "out")
    whole = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*.*"))
    for word in (b"device-0", b"what is number", b"camera:0", f"{7:032x}".encode()):
        assert word not in whole
    assert len({event.device for event in after}) == 2
    for old, new in zip(before, after, strict=True):
        assert (new.correct, new.scores, new.coded) == (old.correct, old.scores, old.coded)
        assert (new.sample_id == new.trace_id) == (old.sample_id == old.trace_id)
        assert new.question not in (old.question, None)
    assert len({event.question for event in after}) == 100
    assert after[0].wall_unix_s == 946_684_800.0
    gaps = [new.wall_unix_s - old.wall_unix_s for old, new in zip(before, after, strict=True)]
    assert max(gaps) - min(gaps) < 1e-6
    assert run_json("validate", tmp_path / "out")["num_events"] == 100


def test_anonymize_is_the_same_under_one_salt_only(trace: Path, tmp_path: Path) -> None:
    for name, salt in (("one", "a"), ("again", "a"), ("other", "b"), ("random", "")):
        run("anonymize", trace, tmp_path / name, "--salt", salt)
    one, again, other, drawn = (
        [event.device for event in events_of(tmp_path / name)]
        for name in ("one", "again", "other", "random")
    )
    assert one == again
    assert len({one[0], other[0], drawn[0]}) == 3


def test_anonymize_can_keep_and_drop(trace: Path, tmp_path: Path) -> None:
    run("anonymize", trace, tmp_path / "kept", "--texts", "keep", "--keep-times")
    kept = events_of(tmp_path / "kept")
    assert kept[3].question == "what is number 3?"
    assert kept[3].wall_unix_s == 1_700_000_003.0
    run("anonymize", trace, tmp_path / "bare", "--texts", "drop", "--drop-tokens")
    bare = events_of(tmp_path / "bare")
    assert {event.question for event in bare} == {""}
    assert all(event.coded is None and event.kept is None for event in bare)


def test_head_shows_one_kind(trace: Path) -> None:
    with open_writer(trace, SUBJECT) as writer:
        writer.write_next([answer_event(0, kind=EventKind.UPDATE, verdict="applied")])
    rows = [json.loads(line) for line in run("head", trace, "--kind", "update").splitlines()]
    assert [row["sequence"] for row in rows] == [100]


def test_rows_before_a_broken_part_can_be_cut(trace: Path, tmp_path: Path) -> None:
    parts = open_trace(trace).manifest.parts
    (trace / "events" / parts[1].name).write_bytes(b"broken")
    assert run_json("cut", trace, tmp_path / "cut", "--rows", ":50")["num_events"] == 50
    with pytest.raises(DataError, match=r"part-000001.parquet") as caught:
        run("cut", trace, tmp_path / "more", "--rows", ":51")
    assert "lab trace cut --rows" in caught.value.fix


def journal_bytes(trace: Path) -> bytes:
    """Three events in a journal, which is left there."""
    with Journal(trace) as journal:
        journal.append([answer_event(n, sequence=n) for n in range(100, 103)])
    return (trace / "events" / "open.arrows").read_bytes()


READING: list[list[str]] = [
    ["validate", "TRACE"],
    ["info", "TRACE"],
    ["head", "TRACE"],
    ["cut", "TRACE", "OUT"],
    ["merge", "TRACE", "OTHER", "--out", "OUT"],
    ["anonymize", "TRACE", "OUT"],
    ["export", "TRACE", "OUT", "--to", "webdataset"],
]


@pytest.mark.parametrize("arguments", READING, ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("content", "fix"),
    [
        (lambda whole: random.Random(1).randbytes(3000), "set it aside"),
        (lambda whole: bytes(3000), "set it aside"),
        (lambda whole: whole[8:], "set it aside"),
        (lambda whole: whole[:700], "removes it"),
        (lambda whole: b"", "removes it"),
    ],
    ids=["random", "zeros", "no start", "cut header", "empty"],
)
def test_a_journal_of_which_nothing_can_be_read_is_refused(
    trace: Path,
    tmp_path: Path,
    arguments: list[str],
    content: Callable[[bytes], bytes],
    fix: str,
) -> None:
    write_trace(tmp_path / "other", 5)
    (trace / "events" / "open.arrows").write_bytes(content(journal_bytes(trace)))
    places = {"TRACE": trace, "OTHER": tmp_path / "other", "OUT": tmp_path / "out"}
    with pytest.raises(DataError, match=r"open\.arrows") as caught:
        run(*(places.get(word, word) for word in arguments))
    assert fix in caught.value.fix and "lab trace recover" in caught.value.fix
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("cut", "num_left"), [(0, 3), (1, 0), (2000, 0)])
def test_a_journal_cut_at_its_end_is_unfinished(trace: Path, cut: int, num_left: int) -> None:
    whole = journal_bytes(trace)
    (trace / "events" / "open.arrows").write_bytes(whole[: len(whole) - cut])
    for command in ("validate", "info"):
        found = run_json(command, trace)
        assert (found["unfinished"], found["num_unfinished"]) == (True, num_left)
    assert run_json("recover", trace)["num_recovered"] == num_left
    assert not run_json("validate", trace)["unfinished"]


def test_a_trace_made_of_an_unfinished_one_says_what_it_leaves_out(
    trace: Path, tmp_path: Path
) -> None:
    journal_bytes(trace)
    result = CliRunner().invoke(app, ["cut", str(trace), str(tmp_path / "out")])
    assert "note: 3 events" in result.stderr and "recover" in result.stderr
    assert len(events_of(tmp_path / "out")) == 100


def test_recover_sets_aside_what_is_no_journal(trace: Path) -> None:
    for content in (b"\xff" * 99, b"no journal"):
        (trace / "events" / "open.arrows").write_bytes(content)
        assert run_json("recover", trace)["num_recovered"] == 0
    names = ["unreadable-000.arrows", "unreadable-001.arrows"]
    assert run_json("validate", trace)["not_of_the_trace"] == names
    assert (trace / "events" / names[1]).read_bytes() == b"no journal"


def test_recover_makes_the_journal_a_part(trace: Path) -> None:
    with Journal(trace) as journal:
        journal.append([answer_event(n, sequence=n) for n in range(100, 103)])
    assert run_json("info", trace)["unfinished"]
    assert run_json("recover", trace)["num_recovered"] == 3
    found = run_json("recover", trace)
    assert (found["num_recovered"], found["num_events"]) == (0, 103)


@pytest.mark.parametrize(
    ("arguments", "kind", "word"),
    [
        (["cut", "TRACE", "TRACE"], ConfigError, "is there already"),
        (["cut", "TRACE", "OUT", "--rows", "5"], ConfigError, "FIRST:END"),
        (["cut", "TRACE", "OUT", "--since", "noon"], ConfigError, "is no time"),
        (["cut", "TRACE", "OUT", "--since", "nan"], ConfigError, "is no time"),
        (["cut", "TRACE", "OUT", "--kind", "answers"], ConfigError, "known kinds are answer"),
        (["cut", "TRACE", "OUT", "--kind", "round"], ConfigError, "there are answer"),
        (["cut", "TRACE", "OUT", "--domain", "fog"], ConfigError, "there are source"),
        (["cut", "TRACE", "OUT", "--segment", "dawn"], ConfigError, "there are day, night"),
        (["cut", "TRACE", "OUT", "--segment", "nigth"], ConfigError, "did you mean 'night'. there"),
        (["cut", "TRACE", "OUT", "--device", "x"], ConfigError, "are device-0, device-1"),
        (["head", "TRACE", "--kind", "answers"], ConfigError, "known kinds are answer"),
        (["head", "TRACE", "--kind", "update"], ConfigError, "there are answer"),
        (["cut", "TRACE", "TRACE/events/x"], ConfigError, "lies in the trace"),
        (["merge", "TRACE", "--out", "OUT"], ConfigError, "two or more"),
        (["merge", "TRACE", "TRACE/../trace", "--out", "OUT"], ConfigError, "each named once"),
        (["anonymize", "TRACE", "OUT", "--texts", "blur"], ConfigError, "hash, drop, keep"),
        (["export", "TRACE", "OUT", "--to", "csv"], ConfigError, "known are huggingface"),
        (["export", "TRACE", "TRACE", "--to", "mcap"], ConfigError, "is there already"),
        (["info", "OUT"], DataError, "is no trace"),
    ],
)
def test_what_is_wrong_is_said(
    trace: Path, tmp_path: Path, arguments: list[str], kind: type[DriftlineError], word: str
) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(kind, match=word):
        run(*(one.replace("TRACE", str(trace)).replace("OUT", out) for one in arguments))


def test_times_without_a_zone_are_utc() -> None:
    assert parse_time("2026-11-27T12:00") == parse_time("2026-11-27T13:00+01:00")
    assert parse_time("17.5") == 17.5
