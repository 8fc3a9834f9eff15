"""What the bench of escalation makes of answers and corrections; no models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from driftline_device.runtime.runtime import Answer
from driftline_lab.bench.escalation.run import scores, summarise
from driftline_lab.data.streams import Event
from driftline_shared.status import Correction
from driftline_shared.tokens import Grid, VisualTokens

EVENT = Event(domain="night", segment=0, image_id=0, question="what?", answer="two", seed=0)
TOKENS = VisualTokens(
    values=np.zeros((1, 1), np.float32),
    positions=np.zeros(1, np.int32),
    grid=Grid(rows=1, cols=1),
)
ANSWER = Answer(text="two", tokens=TOKENS, num_steps=1, version=0)


def _written(corrections: dict[str, str]) -> list[dict[str, Any]]:
    answers = [{"kind": "answer", "id": one, "time": "2026-01-01T00:00:00.000Z"} for one in "abcd"]
    return answers + [
        {"kind": "correction", "corrects": one, "answer": text, "time": "2026-01-01T00:00:01.500Z"}
        for one, text in corrections.items()
    ]


def test_the_three_accuracies_are_of_what_the_device_the_client_and_the_end_had() -> None:
    texts = {"a": "two", "b": "one", "c": "one", "d": "two"}
    answered = [replace(ANSWER, id=one, text=text) for one, text in texts.items()]
    # b is mended in time, c late; d was right and is made wrong.
    corrections = {"b": "Two.", "c": "two", "d": "three"}
    in_time = [None, Correction(id=bytes(16), answer="Two."), None, None]
    found = scores([EVENT] * 4, answered, in_time, _written(corrections))
    assert (found["accuracy_device"], found["accuracy_in_time"]) == (0.5, 0.75)
    assert (found["accuracy_late"], found["share"]) == (0.75, 0.75)
    assert (found["num_asked_device_right"], found["num_asked_teacher_right"]) == (1, 2)
    assert found["seconds"] == [1.5, 1.5, 1.5]


def test_the_summary_is_by_arm_and_domain_and_names_the_worst_seed() -> None:
    row = {
        "arm": "uncertain", "domain": "night", "share": 0.2, "sampled_share": 0.3,
        "accuracy_device": 0.6, "accuracy_in_time": 0.7, "accuracy_late": 0.8, "bytes_up": 100.0,
        "bytes_down": 9.0, "num_corrected": 10, "num_asked_device_right": 2,
        "num_asked_teacher_right": 5, "num_in_time": 8, "seconds": [0.1, 0.3],
    }  # fmt: skip
    other = {**row, "accuracy_in_time": 0.5, "seconds": [0.2]}
    never = {**row, "arm": "never", "num_corrected": 0, "seconds": []}
    uncertain, none = summarise([row, other, never])
    assert (uncertain["num_seeds"], uncertain["worst_in_time"]) == (2, 0.5)
    assert uncertain["accuracy_in_time"] == pytest.approx(0.6)
    assert (uncertain["asked_teacher_right"], uncertain["in_time_share"]) == (0.5, 0.8)
    assert uncertain["seconds_median"] == pytest.approx(0.2)
    assert (none["arm"], none["asked_teacher_right"], none["seconds_median"]) == (
        "never",
        None,
        None,
    )
