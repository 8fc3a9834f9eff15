"""Answers of one runtime beside another's, told by domain."""

from __future__ import annotations

import numpy as np
import pytest

from driftline_device.runtime.runtime import Question
from driftline_lab.bench.device.answers import by_domain

PICTURE = np.zeros((2, 2, 3), dtype=np.uint8)


def test_shares_are_those_of_each_domain() -> None:
    domains = ["source", "night", "night", "night", None]
    questions = [Question(image=PICTURE, text="what?", domain=domain) for domain in domains]
    found = by_domain([True, True, False, False, True], questions)
    assert found == {"source": 1.0, "night": pytest.approx(1 / 3), "": 1.0}
