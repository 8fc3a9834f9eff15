"""What the values of one event must be: the first that cannot be is named."""

from __future__ import annotations

import math
from typing import Any

import pytest

from driftline_shared.trace.checks import what_is_wrong
from tests.fakes.traces import answer_event


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"uncertainty": math.nan}, "uncertainty is nan"),
        ({"p_value": math.inf}, "p_value is inf"),
        ({"model_s": -math.inf}, "model_s is -inf"),
        ({"model_s": -0.5}, "model_s is -0.5, below 0"),
        ({"scores": {"margin": 0.5, "entropy": math.nan}}, "scores.entropy is nan"),
        ({"wall_unix_s": math.nan}, "its time is not finite"),
        ({"wall_unix_s": 1e300}, "of no year from 1 to 9999"),
        ({"wall_unix_s": -1e12}, "of no year from 1 to 9999"),
        ({"adapter_version": -5}, "adapter_version is -5, below 0"),
        ({"sample_bytes": -1}, "sample_bytes is -1, below 0"),
        ({"grid": (1, 2**30, 2**30)}, "has more than 65536 places"),
        ({"sample_id": "x"}, "not 32 hex digits"),
    ],
)
def test_a_value_that_cannot_be_is_named(changes: dict[str, Any], said: str) -> None:
    assert said in what_is_wrong(answer_event(7, **changes))


def test_what_a_device_records_is_right() -> None:
    assert not any(what_is_wrong(answer_event(number)) for number in range(30))
