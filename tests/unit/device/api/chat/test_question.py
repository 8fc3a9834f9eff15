"""What a chat completion asks, and what is refused with which reason."""

from __future__ import annotations

import base64
import json
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_device.api.ask.asked import Asked
from driftline_device.api.chat.question import read_question
from driftline_device.api.errors import ApiError
from driftline_device.api.settings import ApiConfig
from driftline_shared.tokens import MAX_TEXT_CHARS
from tests.fakes.api_device import data_url, image_part, messages, request
from tests.fakes.runtime import picture

TEXT = {"type": "text", "text": "what?"}


def read(body: Any, max_pixels: int = 100, **settings: Any) -> Asked:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    config = ApiConfig(**settings)
    return read_question(data, pair="fake", config=config, max_pixels=max_pixels)


def refused(body: Any, **settings: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(body, **settings)
    return caught.value


def said(role: str, *texts: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text} for text in texts]}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_an_image_and_a_question(form: str) -> None:
    asked = read(request(messages=messages(url=data_url(picture(3), form))))
    assert (asked.question, asked.max_tokens, asked.stream) == ("what?", None, False)
    assert (asked.image.shape, asked.image.dtype) == ((4, 4, 3), np.uint8)
    if form in ("PNG", "BMP"):
        np.testing.assert_array_equal(asked.image, picture(3))


def test_what_clients_send_by_default_is_taken() -> None:
    asked = read(
        request(
            temperature=1.0,
            top_p=0.5,
            n=1,
            seed=7,
            presence_penalty=0.1,
            frequency_penalty=0,
            user="me",
            stop=None,
            tools=[],
            tool_choice="none",
            response_format={"type": "text"},
            logprobs=False,
            logit_bias={},
            stream=True,
            stream_options={"include_usage": True},
            max_tokens=9,
            max_completion_tokens=5,
            metadata={"a": "b"},
            store=True,
            service_tier="auto",
            reasoning_effort="low",
            parallel_tool_calls=True,
            something_of_next_year=1,
        )
    )
    assert (asked.stream, asked.include_usage, asked.max_tokens) == (True, True, 5)


def test_a_system_message_is_left_out_and_that_is_said() -> None:
    system = [said("system", "Be brief."), said("developer", "In English.")]
    user = messages({"type": "text", "text": " what "}, image_part(), {"type": "text", "text": "?"})
    asked = read(request(messages=[*system, *user]))
    assert (asked.question, asked.left_out) == ("what\n?", ("system",))
    asked = read(request(messages=[*system, *user]), system_message="before_question")
    assert (asked.question, asked.left_out) == ("Be brief.\nIn English.\nwhat\n?", ())


def test_earlier_turns_are_lines_before_the_question_about_the_last_picture() -> None:
    turns = [*messages(url=data_url(picture(1))), said("assistant", "green"), said("user", "sure?")]
    asked = read(request(messages=turns))
    assert (asked.question, asked.left_out) == ("what?\ngreen\nsure?", ())
    np.testing.assert_array_equal(asked.image, picture(1))
    turns[2:] = messages(question="and now?", url=data_url(picture(2)))
    asked = read(request(messages=turns))
    assert (asked.question, asked.left_out) == ("what?\ngreen\nand now?", ("pictures",))
    np.testing.assert_array_equal(asked.image, picture(2))


def test_of_a_long_history_the_newest_whole_turns_stay() -> None:
    turns = [*messages(), said("assistant", "a" * 30), said("user", "more"), said("assistant", "b")]
    turns.append(said("user", "sure?"))
    asked = read(request(messages=turns), history_chars=12)
    assert (asked.question, asked.left_out) == ("more\nb\nsure?", ("history",))
    asked = read(request(messages=turns), history_chars=0)
    assert (asked.question, asked.left_out) == ("sure?", ("history",))
    turns[-1] = said("user", "x" * MAX_TEXT_CHARS)
    assert read(request(messages=turns)).question == "x" * MAX_TEXT_CHARS


def test_messages_of_the_user_in_a_row_are_one_question() -> None:
    asked = read(request(messages=[said("user", "look:"), *messages()]))
    assert asked.question == "look:\nwhat?"


def test_what_tools_said_is_left_out() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    turns = [*messages(), call, {"role": "tool", "tool_call_id": "1", "content": "7"}]
    asked = read(request(messages=[*turns, said("user", "sure?")], tools=[{"type": "function"}]))
    assert (asked.question, asked.left_out) == ("what?\nsure?", ("tools",))


def test_of_several_pictures_the_last_is_taken_or_none() -> None:
    several = messages(TEXT, image_part(data_url(picture(1))), image_part(data_url(picture(3))))
    asked = read(request(messages=several))
    assert asked.left_out == ("pictures",)
    np.testing.assert_array_equal(asked.image, picture(3))
    error = refused(request(messages=several), several_pictures="refuse")
    assert (error.code, error.param) == ("one_picture_needed", "messages.0.content.2.image_url.url")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": data_url()},
        {"type": "input_image", "image_url": data_url()},
        {"type": "input_image", "image_url": {"url": data_url()}, "detail": "low"},
    ],
)
def test_a_picture_may_be_written_in_the_ways_that_are_common(part: dict[str, Any]) -> None:
    np.testing.assert_array_equal(read(request(messages=messages(TEXT, part))).image, picture(1))


def test_any_name_of_a_model_is_answered_or_those_that_are_named() -> None:
    for name in ("gpt-4o", "", "TINY", None):
        assert read(request(model=name)).question == "what?"
    nameless = request()
    del nameless["model"]
    assert read(nameless).question == "what?"
    assert read(request(model="cat"), model_names=("cat",)).question == "what?"
    error = refused(request(model="dog"), model_names=("cat",))
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")


def test_probabilities_of_tokens_are_asked_for_by_who_asks() -> None:
    wanted = [
        read(request(**asked)).num_likely
        for asked in ({}, {"logprobs": False}, {"logprobs": True}, {"top_logprobs": 0})
    ]
    assert wanted == [None, None, 0, None]
    asked = read(request(logprobs=True, top_logprobs=20))
    assert (asked.num_likely, asked.left_out) == (20, ())


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"model": 3}, "invalid_value", "model"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": "what?"}, "invalid_value", "messages"),
        ({"n": 2}, "invalid_value", "n"),
        ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"max_tokens": True}, "invalid_value", "max_tokens"),
        ({"max_tokens": "3"}, "invalid_value", "max_tokens"),
        ({"max_tokens": 3.5}, "invalid_value", "max_tokens"),
        ({"temperature": "hot"}, "invalid_value", "temperature"),
        ({"temperature": 99}, "invalid_value", "temperature"),
        ({"temperature": -5}, "invalid_value", "temperature"),
        ({"temperature": float("nan")}, "invalid_value", "temperature"),
        ({"stream": "yes"}, "invalid_value", "stream"),
        ({"stream": 1}, "invalid_value", "stream"),
        ({"tool_choice": "required"}, "unsupported_parameter", "tool_choice"),
        (
            {"tools": [{}], "tool_choice": {"type": "function", "function": {"name": "f"}}},
            "unsupported_parameter",
            "tool_choice",
        ),
        ({"top_logprobs": 2}, "invalid_value", "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "invalid_value", "top_logprobs"),
        ({"logprobs": 5}, "invalid_value", "logprobs"),
        ({"logit_bias": {"5": 1}}, "unsupported_parameter", "logit_bias"),
        ({"modalities": ["text", "audio"]}, "invalid_value", "modalities.1"),
        ({"stop": 3}, "invalid_value", "stop"),
        ({"stop": ["a"] * 17}, "invalid_value", "stop"),
        ({"response_format": "json"}, "invalid_value", "response_format"),
        ({"response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
        ({"messages": messages(TEXT)}, "picture_needed", "messages"),
        ({"messages": [said("user", "hi")]}, "picture_needed", "messages"),
        ({"messages": messages(image_part())}, "no_text", "messages"),
        (
            {"messages": messages(question="x" * (MAX_TEXT_CHARS + 1))},
            "string_above_max_length",
            "messages",
        ),
        ({"messages": [*messages(), said("assistant", "red")]}, "no_question", "messages"),
        ({"messages": [{"role": "owner", "content": "x"}]}, "invalid_value", "messages.0.role"),
        ({"messages": [3]}, "invalid_value", "messages.0"),
        ({"messages": [{"role": "user", "content": 3}]}, "invalid_value", "messages.0.content"),
        (
            {"messages": [{"role": "system", "content": [image_part()]}, *messages()]},
            "unsupported_content",
            "messages.0.content.0.image_url.url",
        ),
        (
            {"messages": messages(TEXT, {"type": "input_audio", "input_audio": {}})},
            "unsupported_content",
            "messages.0.content.1",
        ),
        (
            {"messages": messages(TEXT, {"type": "image_url"})},
            "invalid_value",
            "messages.0.content.1.image_url",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused(change: Any, code: str, param: str) -> None:
    error = refused(request(**change))
    assert (error.code, error.param) == (code, param)
    assert error.status == 400
    for word in ("Input should", "validation", "Value error", "literal", "instance"):
        assert word not in str(error)
    assert len(str(error)) < 500, "nothing of the request comes back at length"


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("http://example.org/a.png", "url_not_fetched", "data URL"),
        ("HTTPS://example.org/a.png", "url_not_fetched", "data URL"),
        ("file:///etc/hostname", "invalid_image_url", "data:image/jpeg;base64,"),
        ("data:text/plain;base64,aGk=", "invalid_image_url", "data:image/jpeg;base64,"),
        ("data:image/png,abc", "invalid_image_url", "data:image/jpeg;base64,"),
        ("data:image/png;base64,!!!!", "invalid_image", "not base64"),
        ("data:image/png;base64,é", "invalid_image", "not base64"),
        ("data:image/png;base64,", "invalid_image", "not an image"),
        ("data:image/png;base64,aGVsbG8=", "invalid_image", "not an image"),
        ("data:image/tiff;base64,SUkqAAgAAAA=", "invalid_image", "PNG, JPEG, WEBP, GIF, BMP"),
        (data_url()[:-48], "invalid_image", "cannot be read"),
        (data_url(np.zeros((10, 11, 3), np.uint8)), "invalid_image", "11 x 10 pixels, at most 100"),
    ],
)
def test_an_image_that_cannot_be_used_is_refused_with_the_reason(
    url: str, code: str, words: str
) -> None:
    error = refused(request(messages=messages(url=url)))
    assert (error.status, error.code) == (400, code)
    assert error.param == "messages.0.content.1.image_url.url"
    assert words in str(error)
    assert "0x" not in str(error)


@pytest.mark.parametrize("change", [str.upper, str.lstrip, lambda header: f" {header}"])
def test_a_data_url_is_read_as_clients_write_it(change: Callable[[str], str]) -> None:
    header, _, payload = data_url().partition(",")
    lines = "\r\n".join(textwrap.wrap(payload.rstrip("="), 64))
    whole = read(request(messages=messages()))
    asked = read(request(messages=messages(url=f"{change(header)},{lines}\n")))
    assert np.array_equal(asked.image, whole.image)


def test_a_header_that_promises_billions_of_pixels_costs_nothing() -> None:
    png = bytearray(base64.b64decode(data_url().partition(",")[2]))
    png[16:24] = b"\x00\x01\x00\x00\x00\x01\x00\x00"  # 65536 x 65536; the checksum is wrong, too
    url = "data:image/png;base64," + base64.b64encode(bytes(png)).decode()
    assert refused(request(messages=messages(url=url))).code == "invalid_image"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"model": "\\ud800"}', b"[" * 5000]
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    error = refused(body)
    assert error.status == 400
    assert error.code in ("invalid_json", "invalid_value")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "image_url", "url"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(model=st.just("fake") | JSON, said=JSON | st.lists(JSON, max_size=3))
def test_no_json_ends_otherwise_than_in_a_refusal(model: Any, said: Any) -> None:
    assert refused({"model": model, "messages": said}).status in (400, 404)
