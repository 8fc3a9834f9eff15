"""The queue of a sink: bounded, first in first out, whatever happens to its file."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from driftline_device.sinks.outbox import MAX_IN_MEMORY, Outbox
from tests.fakes.clock import FakeClock
from tests.unit.device.sinks.test_console import event

NAME = "hook.sqlite"


def outbox(folder: Path, *, max_events: int = 100, max_bytes: int = 1 << 20) -> Outbox:
    return Outbox(folder / NAME, max_events=max_events, max_bytes=max_bytes, clock=FakeClock())


def answers(box: Outbox, most: int = 1000) -> list[str]:
    return [waiting.event.body["answer"] for waiting in box.peek(most)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 5)),
        st.tuples(st.just("remove"), st.integers(1, 8)),
        st.tuples(st.just("reopen"), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS, bound=st.integers(1, 12))
def test_it_is_a_list_with_a_bound(steps: list[tuple[str, int]], bound: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        box, model, num_dropped, number = outbox(folder, max_events=bound), [], 0, 0
        for what, num in steps:
            if what == "append":
                for _ in range(num):
                    box.append(event(str(number)))
                    model.append(str(number))
                    number += 1
                num_dropped += max(0, len(model) - bound)
                model = model[-bound:]
            elif what == "remove":
                gone = box.peek(num)
                box.remove([each.place for each in gone])
                model = model[len(gone) :]
                assert len(gone) == min(num, len(model) + len(gone))
            elif what == "reopen":
                assert box.num_dropped == num_dropped
                box.close()
                box, num_dropped = outbox(folder, max_events=bound), 0
            assert answers(box) == model
            assert (box.num_waiting, box.num_dropped) == (len(model), num_dropped)
        box.close()


def test_bytes_are_bounded_too(tmp_path: Path) -> None:
    box = outbox(tmp_path, max_bytes=5000)
    for number in range(100):
        box.append(event(f"{number} " + "x" * 1000))
    left = answers(box)
    assert 1 <= len(left) <= 4 and left[-1].startswith("99 ")
    assert box.num_dropped == 100 - len(left)
    box.close()


def test_a_place_that_cannot_be_written_is_made_up_for_by_memory(tmp_path: Path) -> None:
    (tmp_path / "sinks").write_text("in the way")
    with capture_logs() as logs:
        box = outbox(tmp_path / "sinks", max_events=MAX_IN_MEMORY * 2)
        for number in range(MAX_IN_MEMORY + 5):
            box.append(event(str(number)))
        assert box.num_waiting == MAX_IN_MEMORY and box.num_dropped == 5
        (first,) = box.peek(1)
        box.remove([first.place])
        (tmp_path / "sinks").unlink()
        box.append(event("back"))
    expected = [*(str(number) for number in range(6, MAX_IN_MEMORY + 5)), "back"]
    assert answers(box, 5000) == expected
    box.close()
    assert [each["event"] for each in logs] == ["outbox.lost", "outbox.back"]
    later = outbox(tmp_path / "sinks", max_events=MAX_IN_MEMORY * 2)
    assert answers(later, 5000) == expected
    later.close()


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough" * 300])
def test_a_broken_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with capture_logs():
        box = outbox(tmp_path)
        for number in range(3):
            box.append(event(str(number)))
        assert answers(box) == ["0", "1", "2"]
    box.close()
    assert (tmp_path / f"{NAME}.corrupt").exists() == bool(content)
    later = outbox(tmp_path)
    assert answers(later) == ["0", "1", "2"]
    later.close()


def test_a_folder_in_the_way_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with capture_logs() as logs:
        box = outbox(tmp_path)
        box.append(event("kept"))
        assert answers(box) == ["kept"]
    box.close()
    assert (tmp_path / NAME).is_file() and (tmp_path / f"{NAME}.corrupt").is_dir()
    assert "outbox.broken" in [each["event"] for each in logs]


def test_a_row_that_does_not_read_is_left_out(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    box.append(event("good"))
    assert box._database is not None
    box._database.execute("INSERT INTO events (bytes, body) VALUES (3, 'no {')")
    box.append(event("better"))
    assert answers(box) == ["good", "better"]
    assert box.num_dropped == 1
    box.close()


@pytest.mark.parametrize("how", ["emptied", "dropped"])
def test_a_queue_that_lost_what_waited_is_told_of(tmp_path: Path, how: str) -> None:
    box = outbox(tmp_path)
    box.append(event("lost"))
    box.close()
    if how == "emptied":
        for path in tmp_path.iterdir():
            path.unlink()
        (tmp_path / NAME).write_bytes(b"")
    else:
        database = sqlite3.connect(tmp_path / NAME)
        database.execute("DROP TABLE events")
        database.commit()
        database.close()
    with capture_logs() as logs:
        box = outbox(tmp_path)
        box.append(event("kept"))
    assert [each["event"] for each in logs] == ["outbox.emptied"]
    assert answers(box) == ["kept"]


def test_a_queue_taken_away_while_it_is_used_goes_into_a_new_file(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    for name in ("one", "two"):
        box.append(event(name))
    for path in tmp_path.iterdir():
        path.unlink()
    with capture_logs() as logs:
        box.append(event("three"))
    assert [each["event"] for each in logs] == ["outbox.removed"]
    box.close()
    assert answers(outbox(tmp_path)) == ["one", "two", "three"]


def test_a_full_queue_is_told_of_once(tmp_path: Path) -> None:
    box = outbox(tmp_path, max_events=4)
    with capture_logs() as logs:
        for number in range(20):
            box.append(event(str(number)))
        box.remove([each.place for each in box.peek(4)])
        box.append(event("later"))
    assert [each["event"] for each in logs] == ["outbox_room.lost", "outbox_room.back"]
    assert logs[1]["num_dropped"] == 16
