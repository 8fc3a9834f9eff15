"""From the journal to a part: cut anywhere, every written event is there once."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from driftline_shared.trace.arrow import to_batch
from driftline_shared.trace.event import TraceEvent
from driftline_shared.trace.journal import Journal, read_journal
from driftline_shared.trace.manifest import EVENTS, FILE, JOURNAL, need_manifest
from driftline_shared.trace.reader import open_trace
from driftline_shared.trace.recovery import roll_over
from driftline_shared.trace.writer import open_writer, recover
from tests.fakes.traces import SUBJECT, answer_event, write_trace

NUM_ROLLED, NUM_OPEN = 30, 20


class Killed(BaseException):
    """The process is gone: nothing after this line reaches the disk."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A trace with one part of 30 events and a journal of 20 more, in batches of 5."""
    write_trace(tmp_path, NUM_ROLLED)
    with Journal(tmp_path) as journal:
        for start in range(NUM_ROLLED, NUM_ROLLED + NUM_OPEN, 5):
            journal.append([answer_event(n, sequence=n) for n in range(start, start + 5)])
    return tmp_path


def numbers(folder: Path) -> list[int]:
    return [event.sequence for event in open_trace(folder).events()]


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process dies at the `step`th change of the file system, before or after the change."""
    calls = 0

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > step:
                raise Killed
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for owner, names in (
            (Path, ("replace", "unlink", "rename")),
            (os, ("fsync", "open")),
        ):
            for name in names:
                patch.setattr(owner, name, dying(getattr(owner, name)))
        yield


def test_a_kill_at_any_step_neither_loses_nor_doubles_an_event(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_kills, seen = 0, set()
    for step in range(100):
        copy = Path(shutil.copytree(folder, tmp_path_factory.mktemp("copy") / "trace"))
        with killed_at(step, monkeypatch):
            try:
                roll_over(copy, need_manifest(copy))
                break
            except Killed:
                num_kills += 1
        seen.add(((copy / EVENTS / JOURNAL).exists(), need_manifest(copy).num_rows))
        recover(copy)
        assert numbers(copy) == list(range(NUM_ROLLED + NUM_OPEN)), f"killed at step {step}"
        recover(copy)
        assert numbers(copy) == list(range(NUM_ROLLED + NUM_OPEN)), "recovered twice"
        parts = {part.name for part in need_manifest(copy).parts}
        assert {path.name for path in (copy / EVENTS).iterdir()} == parts
    assert num_kills > 8
    # Kills fell before the manifest, between it and the end of the journal, and after.
    assert seen == {(True, 30), (True, 50), (False, 50)}


def test_a_journal_cut_anywhere_gives_every_batch_before_the_cut(folder: Path) -> None:
    path = folder / EVENTS / JOURNAL
    whole = path.read_bytes()
    ends: list[int] = []  # where each batch ends: 5 events more
    rng = random.Random(11)
    for cut in sorted({0, 1, len(whole) - 1, len(whole), *rng.sample(range(len(whole)), 200)}):
        path.write_bytes(whole[:cut])
        count = sum(batch.num_rows for batch in read_journal(path, after=NUM_ROLLED - 1))
        assert count % 5 == 0
        ends += [cut] * (count // 5 - len(ends))
    assert len(ends) == NUM_OPEN // 5, "a longer journal gives no fewer events"


def test_bytes_after_the_cut_that_are_no_batch_are_left_out(folder: Path) -> None:
    path = folder / EVENTS / JOURNAL
    whole = path.read_bytes()
    for rest in (b"\0" * 5_000, b"\xff" * 5_000, random.Random(3).randbytes(5_000)):
        path.write_bytes(whole + rest)
        rows = sum(batch.num_rows for batch in read_journal(path, after=-1))
        assert rows == NUM_OPEN


def test_a_batch_with_a_wrong_row_ends_the_journal(folder: Path) -> None:
    path = folder / EVENTS / JOURNAL
    whole = path.read_bytes()
    place = whole.index(b"what is number 42?")
    path.write_bytes(whole[:place] + b"W" + whole[place + 1 :])
    assert recover(folder).num_rows == NUM_ROLLED + 10


def test_a_journal_of_events_that_are_in_a_part_adds_none(folder: Path) -> None:
    journal = (folder / EVENTS / JOURNAL).read_bytes()
    recover(folder)
    (folder / EVENTS / JOURNAL).write_bytes(journal)
    manifest = (folder / FILE).read_bytes()
    assert recover(folder).num_rows == NUM_ROLLED + NUM_OPEN
    assert (folder / FILE).read_bytes() == manifest


def test_a_file_that_the_manifest_does_not_name_is_not_read(folder: Path) -> None:
    first = folder / EVENTS / "part-000000.parquet"
    shutil.copy(first, folder / EVENTS / "part-000001.parquet")
    assert numbers(folder) == list(range(NUM_ROLLED))
    recover(folder)
    assert numbers(folder) == list(range(NUM_ROLLED + NUM_OPEN))


def test_an_empty_journal_is_no_part(tmp_path: Path) -> None:
    write_trace(tmp_path, 5)
    (tmp_path / EVENTS / JOURNAL).write_bytes(b"")
    assert len(recover(tmp_path).parts) == 1
    assert not open_trace(tmp_path).unfinished


@pytest.mark.parametrize("left", [0, 1, 500])
def test_a_journal_cut_in_its_header_held_nothing_and_goes(folder: Path, left: int) -> None:
    path = folder / EVENTS / JOURNAL
    path.write_bytes(path.read_bytes()[:left])
    recover(folder)
    assert [each.name for each in (folder / EVENTS).iterdir()] == ["part-000000.parquet"]


def test_who_writes_next_sets_aside_a_journal_that_is_none(folder: Path) -> None:
    strange = b"of another driftline" + (folder / EVENTS / JOURNAL).read_bytes()
    (folder / EVENTS / JOURNAL).write_bytes(strange)
    with capture_logs() as logs, open_writer(folder, SUBJECT) as writer:
        writer.write_next([answer_event(30)])
    assert (folder / EVENTS / "unreadable-000.arrows").read_bytes() == strange
    assert [(row["event"], row["file"]) for row in logs] == [
        ("trace.journal_set_aside", "unreadable-000.arrows")
    ]
    assert numbers(folder) == list(range(31))


def test_events_of_a_batch_keep_their_order(folder: Path) -> None:
    events: list[TraceEvent] = list(open_trace(folder).events())
    assert to_batch(events).column("sequence").to_pylist() == list(range(NUM_ROLLED))
