"""What is wrong is said in our own sentences."""

from __future__ import annotations

import json
from typing import Any

import pytest

from driftline_device.api.chat.body import ChatBody
from driftline_device.api.errors import ApiError
from driftline_device.api.wording import parsed, shown


def fault(body: Any) -> str:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ApiError) as refused:
        parsed(ChatBody, data)
    return str(refused.value)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "messages is missing"),
        ({"messages": []}, "messages is empty"),
        ({"messages": [1] * 257}, "messages has 257 entries, at most 256 are taken"),
        ({"messages": "x"}, "messages must be a list, not the text 'x'"),
        (
            {"messages": [1], "max_tokens": "3"},
            "max_tokens must be a whole number, not the text '3'",
        ),
        ({"messages": [1], "max_tokens": True}, "max_tokens must be a whole number, not true"),
        ({"messages": [1], "max_tokens": 0}, "max_tokens must be at least 1, not 0"),
        ({"messages": [1], "temperature": 99}, "temperature must be at most 2, not 99"),
        ({"messages": [1], "stream": 1}, "stream must be true or false, not 1"),
        ({"messages": [1], "metadata": []}, "metadata must be an object, not a list"),
        (b'{"messages": [1], "temperature": NaN}', "temperature must be a finite number, not nan"),
        (b"[]", "the body must be an object, not a list"),
        (b'{"a": ', "the body is no JSON from line 1, column 6 on"),
        (b'{"model": "\\ud800"}', "the body is no JSON from line 1, column 18 on"),
    ],
)
def test_each_fault_has_its_sentence(body: Any, sentence: str) -> None:
    assert fault(body) == sentence


def test_a_value_comes_back_short() -> None:
    assert shown("x" * 1000) == f"the text '{'x' * 40}'..."
    assert shown(10**4000) == "that large a number"
    assert [shown(value) for value in (None, True, 2.5, [], {})] == [
        "null",
        "true",
        "2.5",
        "a list",
        "an object",
    ]
