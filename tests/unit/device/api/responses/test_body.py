"""What a response asks: the same question in another form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_device.api.ask.asked import Asked
from driftline_device.api.errors import ApiError
from driftline_device.api.responses.body import read_responses
from driftline_device.api.settings import ApiConfig
from tests.fakes.api_device import data_url

IMAGE = {"type": "input_image", "image_url": data_url()}
TEXT = {"type": "input_text", "text": "what?"}
USER = {"role": "user", "content": [TEXT, IMAGE]}


def read(body: dict[str, Any], **settings: Any) -> Asked:
    data = json.dumps(body).encode()
    return read_responses(data, pair="fake", config=ApiConfig(**settings), max_pixels=100)


def refused(body: dict[str, Any], **settings: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(body, **settings)
    return caught.value


def test_a_message_or_bare_parts() -> None:
    for items in ([USER], [{"type": "message", **USER}], [TEXT, IMAGE]):
        assert read({"input": items, "max_output_tokens": 3}).question == "what?"
    assert read({"input": [USER], "stream": True}).stream


def test_what_was_said_before() -> None:
    answered = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "red", "annotations": []}],
    }
    items = [USER, {"type": "reasoning", "summary": []}, answered, {**USER, "content": "sure?"}]
    asked = read({"input": items, "instructions": "Be brief."})
    assert asked.question == "what?\nred\nsure?"
    assert asked.left_out == ("system", "tools")
    asked = read({"input": [USER], "instructions": "Be brief."}, system_message="before_question")
    assert (asked.question, asked.left_out) == ("Be brief.\nwhat?", ())


def test_a_format_and_tools() -> None:
    form = {"type": "json_schema", "name": "x", "schema": {"enum": ["a", "b"]}}
    asked = read({"input": [USER], "text": {"format": form}, "tools": [{"type": "function"}]})
    assert asked.shape.whole("b")[0].text == '"b"'
    assert asked.left_out == ("tools",)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": None}, "input"),
        ({"input": "what?"}, "input"),
        ({"input": 3}, "input"),
        ({"input": [USER] * 257}, "input"),
        ({"instructions": 3}, "instructions"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": {"id": "c"}}, "conversation"),
        ({"background": True}, "background"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input.0.content.0"),
    ],
)
def test_what_cannot_be_honoured_is_refused(change: dict[str, Any], param: str) -> None:
    error = refused({"input": [USER], **change})
    assert (error.status, error.param) == (400, param)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "format"]), inner)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["input", "instructions", "text", "tools", "model"]), JSON))
def test_no_json_ends_otherwise_than_in_a_refusal(body: dict[str, Any]) -> None:
    assert refused(body).status == 400
