"""`driftline device history`, `wrong`, `right`, `unmark`, beside a daemon or without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from driftline_device.cli import app
from driftline_device.history.history import History
from driftline_device.history.marks import Change, MarksVerdict
from driftline_device.history.records import PastAnswer, UpdateCard
from driftline_shared.errors import DataError
from driftline_shared.host.durable import write_json


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Two answers, the newer one with a picture on disk, and an update that was refused."""
    write_json(tmp_path / "status.json", {"activity": "holding"})
    history = History(tmp_path)
    for number, answer in ((0x1111AAAA, "one"), (0x2222BBBB, "three")):
        past = PastAnswer(
            id=f"{number:032x}",
            unix_s=1_700_000_000.0 + number % 7,
            feed="door",
            source="door",
            place="door.png",
            question="how many?",
            answer=answer,
            uncertainty=0.7,
            version=4,
        )
        history.add(past, np.zeros((4, 4, 3), np.uint8))
    change = Change(id="0" * 32, question="how many?", before="two", after="one", answer="two")
    marks = MarksVerdict(num=4, num_right_before=3, num_right=2, num_broken=1, broken=(change,))
    history.note_update(
        UpdateCard(
            unix_s=1.0,
            version=5,
            outcome="failed",
            reason="owner_disagrees",
            detail=marks.detail,
            num_bytes=6_400,
            marks=marks,
        )
    )
    history.close()
    return tmp_path


def test_answers_are_shown_the_newest_last(state: Path) -> None:
    lines = run("history", "--state", state).output.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("2222bbbb") and "how many?  ->  three" in lines[1]
    rows = json.loads(run("history", "--state", state, "--json").output)["answers"]
    assert [row["answer"] for row in rows] == ["one", "three"]


def test_a_wrong_answer_is_marked_and_the_mark_taken_back(state: Path) -> None:
    done = run("wrong", "2222BBBB", "two", "--state", state)
    assert done.exit_code == 0 and "right is 'two'" in done.output
    marked = run("history", "--marked", "--state", state).output
    assert "marked wrong: two" in marked and "one" not in marked.replace("door", "")
    shown = json.loads(run("right", "1111aaaa", "--state", state, "--json").output)
    assert (shown["right"], shown["answer"]) == (True, None)
    assert run("unmark", "2222bbbb", "--state", state).exit_code == 0
    rows = json.loads(run("history", "--marked", "--state", state, "--json").output)["answers"]
    assert [row["answer"] for row in rows] == ["one"]


def test_what_is_no_answer_is_named(state: Path) -> None:
    done = run("wrong", "deadbeef", "--state", state)
    assert isinstance(done.exception, DataError) and "no answer ends with" in str(done.exception)


def test_updates_tell_why(state: Path) -> None:
    text = run("history", "--updates", "--state", state).output
    assert "version 5  failed  6,400 B" in text and "owner_disagrees" in text
    assert "broken: how many?  two -> one  (you said two)" in text


def test_a_folder_where_no_daemon_has_run_is_named(tmp_path: Path) -> None:
    done = run("history", "--state", tmp_path / "nothing")
    assert isinstance(done.exception, DataError)
    assert not (tmp_path / "nothing").exists()


def test_a_history_that_cannot_be_opened_is_one_sentence_and_left_to_the_daemon(
    state: Path,
) -> None:
    for part in state.glob("history.sqlite*"):
        part.unlink()
    (state / "history.sqlite").mkdir()
    done = run("history", "--state", state)
    assert isinstance(done.exception, DataError) and "cannot be used" in str(done.exception)
    assert (state / "history.sqlite").is_dir()
