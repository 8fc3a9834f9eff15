"""The scripted owner marks what a drifted step got wrong, with the truth, and some right ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from driftline_device.history.history import History
from driftline_device.history.records import PastAnswer
from driftline_device.history.settings import HistorySettings
from driftline_lab.demo import owner as owner_module
from driftline_lab.demo.owner import ScriptedOwner
from driftline_shared.errors import DriftlineError


class Demo:
    """A device that answered `rows` of (domain, correct), with or without pictures on disk."""

    def __init__(self, folder: Path, *, pictures: bool = True) -> None:
        self.state, self.events = folder / "device", folder / "events.jsonl"
        self.stream = folder / "stream.jsonl"
        self.stream.write_text('{"answer": "truth"}\n' * 99, encoding="utf-8")
        self.history = History(self.state, HistorySettings(pictures=pictures))
        self._num = 0

    def answer(self, domain: str, correct: bool) -> None:
        self._num += 1
        answer_id, place = f"{self._num:032x}", f"{self.stream}:{self._num}"
        past = PastAnswer(
            id=answer_id,
            unix_s=float(self._num),
            feed="stream",
            source="stream",
            place=place,
            question="what?",
            answer="truth" if correct else "nonsense",
            uncertainty=0.1,
            version=0,
        )
        self.history.add(past, np.zeros((4, 4, 3), np.uint8))
        self.history.flush()
        row = {"id": answer_id, "place": place, "domain": domain, "correct": correct}
        with self.events.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def owner(self, num: int) -> ScriptedOwner:
        return ScriptedOwner(self.state, num=num, events=self.events, stream=self.stream)


def test_it_marks_once_there_is_enough_of_a_drift(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    owner = demo.owner(4)
    owner.look()  # at the step before the first answer
    for correct in (True, False, False, False):
        demo.answer("source", correct)
    owner.look()
    assert demo.history.answers(most=9, marked=True) == []
    for correct in (False, True, False, True, False, False):
        demo.answer("fog", correct)
    owner.look()
    marked = demo.history.answers(most=9, marked=True)
    assert [(int(each.id, 16), each.right, each.right_answer) for each in marked] == [
        (10, False, "truth"),
        (9, False, "truth"),
        (8, True, None),
        (7, False, "truth"),
    ]
    for _ in range(9):
        demo.answer("fog", False)
    owner.look()  # an owner looks once
    assert len(demo.history.answers(most=99, marked=True)) == 4
    demo.history.close()


def test_marks_without_pictures_end_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner_module, "PICTURES_S", 0.0)
    demo = Demo(tmp_path, pictures=False)
    for correct in (False, False, False, True):
        demo.answer("fog", correct)
    with pytest.raises(DriftlineError, match="no pictures"):
        demo.owner(4).look()
    demo.history.close()
