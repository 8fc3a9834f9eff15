"""Past answers, their pictures and marks, on disk and between two processes."""

from __future__ import annotations

import io
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from structlog.testing import capture_logs

from driftline_device.history.history import History
from driftline_device.history.marks import MarksVerdict
from driftline_device.history.pictures import RecentPictures, from_png, shrink, to_png
from driftline_device.history.records import PastAnswer, UpdateCard
from driftline_device.history.settings import HistorySettings
from driftline_shared.errors import DataError
from driftline_shared.host.database import DatabaseFile

PICTURE = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)


def make_answer(number: int, **given: object) -> PastAnswer:
    values: dict[str, object] = {
        "id": f"{number:032x}",
        "unix_s": float(number),
        "feed": "door",
        "source": "door",
        "place": f"{number}.png",
        "question": "is it open?",
        "answer": "yes",
        "uncertainty": 0.25,
        "version": 3,
    }
    return PastAnswer(**{**values, **given})  # type: ignore[arg-type]


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def test_the_newest_come_first_and_pages_go_on_where_they_ended(history: History) -> None:
    for number in range(0xA000, 0xA005):
        history.add(make_answer(number), None)
    history.flush()
    page = history.answers(most=2)
    assert [each.place for each in page] == [f"{0xA004}.png", f"{0xA003}.png"]
    rest = history.answers(most=9, before=page[-1].id)
    assert [each.place for each in rest] == [f"{n}.png" for n in (0xA002, 0xA001, 0xA000)]
    assert page[0] == make_answer(0xA004, has_picture=False)


def test_only_so_many_are_kept(tmp_path: Path) -> None:
    history = History(tmp_path, HistorySettings(max_answers=3))
    for number in range(10):
        history.add(make_answer(number), None)
        history.flush()
    assert [each.unix_s for each in history.answers(most=99)] == [9, 8, 7]


def test_an_answer_is_marked_by_the_end_of_its_id(history: History) -> None:
    history.add(make_answer(0xABCDE), PICTURE)
    mark = history.mark("BCDE", right=False, answer="no", now_s=5.0)
    assert (mark.said, mark.answer, mark.right) == ("yes", "no", False)
    found = history.answers(most=1, marked=True)[0]
    assert (found.right, found.right_answer, found.has_picture) == (False, "no", True)
    checked = history.checked()
    assert len(checked) == 1 and np.array_equal(checked[0].picture, PICTURE)
    with pytest.raises(DataError, match="'Yes' is what was answered"):
        history.mark("BCDE", right=False, answer="Yes", now_s=5.0)
    history.mark("abcde", right=True, answer=None, now_s=6.0)
    assert history.answers(most=1)[0].right is True
    history.unmark("abcde")
    assert history.answers(most=1)[0].right is None and history.checked() == []


@pytest.mark.parametrize(
    ("wanted", "word"), [("xyz1", "hex"), ("1", "hex"), ("ffff", "no answer"), ("0001", "several")]
)
def test_an_id_that_is_not_one_answer_is_refused(history: History, wanted: str, word: str) -> None:
    history.add(make_answer(0x10001), None)
    history.add(make_answer(0x20001), None)
    with pytest.raises(DataError, match=word):
        history.mark(wanted, right=True, answer=None, now_s=0.0)


def test_a_right_answer_takes_no_correction_and_a_correction_says_something(
    history: History,
) -> None:
    history.add(make_answer(0xABCDE), None)
    for right, answer in ((True, "no"), (False, "  ")):
        with pytest.raises(DataError):
            history.mark("abcde", right=right, answer=answer, now_s=0.0)


def test_a_mark_made_beside_the_daemon_gets_the_picture_that_it_still_holds(
    tmp_path: Path,
) -> None:
    daemon, command = History(tmp_path), History(tmp_path)
    daemon.add(make_answer(0xABCDE), PICTURE)
    daemon.flush()
    command.mark("abcde", right=False, answer="no", now_s=1.0)
    assert daemon.checked() == []
    daemon.flush()
    assert np.array_equal(daemon.checked()[0].picture, PICTURE)
    daemon.close()
    command.close()


def test_pictures_are_on_disk_only_where_the_owner_wants_them(tmp_path: Path) -> None:
    for pictures in (False, True):
        folder = tmp_path / str(pictures)
        first = History(folder, HistorySettings(pictures=pictures))
        first.add(make_answer(0xABCDE), PICTURE)
        first.close()
        assert (History(folder).picture(f"{0xABCDE:032x}") is not None) == pictures


def test_a_picture_in_memory_is_one_that_is_there(history: History) -> None:
    history.add(make_answer(1), PICTURE)
    history.add(make_answer(2), None)
    history.flush()
    assert [each.has_picture for each in history.answers(most=9)] == [False, True]


def test_pictures_on_disk_are_bounded(tmp_path: Path) -> None:
    history = History(tmp_path, HistorySettings(pictures=True, max_picture_bytes=600))
    for number in range(10):
        history.add(make_answer(number), PICTURE)
        history.flush()
    again = History(tmp_path)
    kept = [each for each in range(10) if again.picture(f"{each:032x}") is not None]
    assert 1 <= len(kept) < 10 and kept[-1] == 9


def test_a_kill_forgets_what_was_not_flushed_and_nothing_else(tmp_path: Path) -> None:
    first = History(tmp_path)
    first.add(make_answer(1), None)
    first.flush()
    first.add(make_answer(2), None)
    assert [each.unix_s for each in History(tmp_path).answers(most=9)] == [1]


def test_a_broken_file_costs_the_history_not_the_device(tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").write_bytes(b"rubbish" * 999)
    history = History(tmp_path)
    history.add(make_answer(1), None)
    history.flush()
    assert len(history.answers(most=9)) == 1
    assert (tmp_path / "history.sqlite.corrupt").exists()


def test_answers_wait_where_the_place_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "state"
    blocked.write_text("no folder")
    history = History(blocked)
    history.add(make_answer(1), None)
    history.flush()
    blocked.unlink()
    history.add(make_answer(2), None)
    history.flush()
    assert [each.unix_s for each in history.answers(most=9)] == [2, 1]


def test_a_folder_in_the_place_of_the_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").mkdir()
    history = History(tmp_path)
    history.add(make_answer(1), None)
    history.flush()
    assert [each.unix_s for each in history.answers(most=9)] == [1]
    assert (tmp_path / "history.sqlite.broken").is_dir()


def test_cards_of_updates_are_kept_once(history: History) -> None:
    verdict = MarksVerdict(num=3, num_right_before=1, num_right=2, num_fixed=1)
    card = UpdateCard(unix_s=1.0, version=4, outcome="applied", reason="applied", marks=verdict)
    history.note_update(card)
    history.note_update(card)
    assert history.updates() == [card]


def test_recent_pictures_make_room() -> None:
    recent = RecentPictures(2 * PICTURE.nbytes)
    for name in "abc":
        recent.add(name, PICTURE)
    assert recent.get("a") is None and recent.get("c") is not None
    recent.add("huge", np.zeros((99, 99, 3), np.uint8))
    assert recent.get("huge") is None and recent.get("c") is not None


def test_pictures_are_kept_at_twice_what_the_model_reads() -> None:
    assert shrink(PICTURE, (8, 8)) is PICTURE
    assert shrink(np.zeros((400, 100, 3), np.uint8), (50, 50)).shape == (100, 25, 3)
    assert shrink(np.zeros((4000, 1, 3), np.uint8), None).shape == (512, 1, 3)


def test_a_marked_answer_stays_as_long_as_its_mark(tmp_path: Path) -> None:
    history = History(tmp_path, HistorySettings(max_answers=2))
    history.add(make_answer(0xABCDE), PICTURE)
    history.mark("abcde", right=True, answer=None, now_s=1.0)
    for number in range(9):
        history.add(make_answer(number), None)
        history.flush()
    assert [each.id[-5:] for each in history.answers(most=9, marked=True)] == ["abcde"]
    history.unmark("abcde")
    history.add(make_answer(99), None)
    history.flush()
    assert len(history.answers(most=99)) == 2 and history.checked() == []
    with pytest.raises(DataError):
        history.unmark(f"{99:032x}")


@pytest.mark.parametrize(
    ("column", "value"),
    [("unix_s", 1e300), ("unix_s", "zz"), ("uncertainty", "abc"), ("question", b"\xff")],
)
def test_a_row_that_a_bad_block_changed_is_left_out(
    tmp_path: Path, column: str, value: object
) -> None:
    history = History(tmp_path)
    for number in (1, 2):
        history.add(make_answer(number), None)
    history.close()
    with sqlite3.connect(tmp_path / "history.sqlite") as database:
        database.execute(f"UPDATE answers SET {column} = ? WHERE number = 1", (value,))
    database.close()
    assert [each.id for each in History(tmp_path).answers(most=9)] == [make_answer(2).id]


def test_answers_wait_while_somebody_else_holds_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftline_shared.host.database.BUSY_TIMEOUT_S", 0.01)
    history = History(tmp_path)
    history.add(make_answer(1), None)
    history.flush()
    other = sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    history.close()
    history = History(tmp_path)
    history.add(make_answer(2), None)
    history.flush()
    history.add(make_answer(3), None)
    other.execute("ROLLBACK")
    other.close()
    history.flush()
    assert [each.unix_s for each in history.answers(most=9)] == [3, 2, 1]


def test_a_file_that_was_emptied_is_told_of_and_one_that_was_removed_is_made_anew(
    tmp_path: Path,
) -> None:
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"")
    history = History(tmp_path)
    with capture_logs() as logs:
        history.add(make_answer(1), None)
        history.flush()
    assert [each["event"] for each in logs] == ["history.set_aside"]
    for part in tmp_path.glob("history.sqlite*"):
        part.unlink()
    history.add(make_answer(2), None)
    history.flush()
    assert [each.unix_s for each in History(tmp_path).answers(most=9)] == [2]
    history.close()


@pytest.mark.parametrize("answer", ["x" * 1_001, "two\nlines", "\x1b[31mred", "a\0b", "\udcff"])
def test_a_right_answer_is_one_line_of_text(history: History, answer: str) -> None:
    history.add(make_answer(0xABCDE), None)
    with pytest.raises(DataError):
        history.mark("abcde", right=False, answer=answer, now_s=0.0)


def test_the_same_word_again_is_no_news(history: History) -> None:
    history.add(make_answer(0xABCDE), PICTURE)
    history.mark("abcde", right=False, answer="no", now_s=5.0)
    history.note_taught(f"{0xABCDE:032x}")
    history.mark("abcde", right=False, answer="no", now_s=9.0)
    assert history.to_teach(1) == [] and history.checked()[0].unix_s == 5.0
    history.mark("abcde", right=False, answer="maybe", now_s=9.0)
    assert len(history.to_teach(1)) == 1 and history.checked()[0].unix_s == 9.0


def test_nothing_is_asked_of_the_file_while_nothing_came(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.add(make_answer(1), PICTURE)
    history.flush()
    history.flush()
    with monkeypatch.context() as patch:
        patch.setattr(DatabaseFile, "run", None)
        patch.setattr(DatabaseFile, "read", None)
        for _ in range(3):
            history.flush()
    other = History(tmp_path, keeper=False)  # a command's
    other.mark(f"{1:08x}", right=True, answer=None, now_s=5.0)
    other.close()
    history.flush()
    assert np.array_equal(history.checked()[0].picture, PICTURE)


def test_reading_a_history_that_is_not_there_makes_none(tmp_path: Path) -> None:
    history = History(tmp_path, keeper=False)
    assert history.answers(most=5) == [] and history.checked() == []
    history.close()
    assert not list(tmp_path.iterdir())


def test_past_answers_are_read_where_nothing_can_be_opened_for_writing(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.add(make_answer(0xABCDE), PICTURE)
    history.mark("abcde", right=True, answer=None, now_s=5.0)

    def refused(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr("driftline_shared.host.database.open_database", refused)
    other = History(tmp_path, keeper=False)
    assert [each.right for each in other.answers(most=5)] == [True]
    assert len(other.checked()) == 1 and other.picture(f"{0xABCDE:032x}")
    with pytest.raises(sqlite3.OperationalError):
        other.mark("abcde", right=False, answer=None, now_s=6.0)
    other.close()


def test_a_clip_is_kept_as_it_was_and_within_bounds() -> None:
    clip = np.random.default_rng(1).integers(0, 256, (3, 20, 12, 3), dtype=np.uint8)
    assert shrink(clip, (20, 12)) is clip
    back = from_png(to_png(clip))
    assert back is not None
    np.testing.assert_array_equal(back, clip)
    small = shrink(np.zeros((16, 700, 900, 3), dtype=np.uint8), (640, 640))
    assert small.shape[0] == 16 and small.size // 3 <= 3_000_000
    back = from_png(to_png(small))
    assert back is not None and back.shape == small.shape


@pytest.mark.parametrize("frames", ["0", "5", "-1", "1000000000", "x", ""])
def test_a_clip_with_a_wrong_number_of_pictures_is_none(frames: str) -> None:
    info = PngInfo()
    info.add_text("frames", frames)
    data = io.BytesIO()
    Image.fromarray(np.zeros((20, 36, 3), dtype=np.uint8)).save(data, format="PNG", pnginfo=info)
    assert from_png(data.getvalue()) is None
