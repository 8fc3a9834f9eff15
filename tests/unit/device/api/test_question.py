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

from driftline_device.api.errors import ApiError
from driftline_device.api.question import Asked, read_question
from driftline_shared.tokens import MAX_TEXT_CHARS
from tests.fakes.api_device import data_url, image_part, messages, request
from tests.fakes.runtime import picture

TEXT = {"type": "text", "text": "what?"}


def read(body: Any, max_pixels: int = 100) -> Asked:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_question(data, pair="fake", max_pixels=max_pixels)


def refused(body: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(body)
    return caught.value


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
            something_of_next_year=1,
        )
    )
    assert (asked.stream, asked.include_usage, asked.max_tokens) == (True, True, 5)


def test_texts_are_joined_in_order_instructions_first() -> None:
    system = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "In English."}]},
    ]
    user = messages({"type": "text", "text": " what "}, image_part(), {"type": "text", "text": "?"})
    assert read(request(messages=[*system, *user])).question == "Be brief.\nIn English.\nwhat\n?"


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"model": "gpt-4o"}, "model_not_found", "model"),
        ({"model": None}, "invalid_value", "model"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": "what?"}, "invalid_value", "messages"),
        ({"n": 2}, "invalid_value", "n"),
        ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"logprobs": True}, "invalid_value", "logprobs"),
        ({"tools": [{"type": "function"}]}, "invalid_value", "tools"),
        ({"logit_bias": {"5": 1}}, "invalid_value", "logit_bias"),
        ({"modalities": ["text", "audio"]}, "invalid_value", "modalities.1"),
        ({"stop": ["."]}, "unsupported_parameter", "stop"),
        ({"response_format": {"type": "json_object"}}, "unsupported_parameter", "response_format"),
        ({"messages": messages(TEXT)}, "one_image_needed", "messages"),
        ({"messages": messages(TEXT, image_part(), image_part())}, "one_image_needed", "messages"),
        ({"messages": messages(image_part())}, "no_text", "messages"),
        (
            {"messages": messages(question="x" * (MAX_TEXT_CHARS + 1))},
            "string_above_max_length",
            "messages",
        ),
        (
            {"messages": [*messages(), {"role": "assistant", "content": "red"}, *messages()]},
            "unsupported_conversation",
            "messages.0.role",
        ),
        (
            {"messages": [{"role": "assistant", "content": "red"}, *messages()]},
            "unsupported_conversation",
            "messages.0.role",
        ),
        (
            {"messages": [*messages(), {"role": "system", "content": "no"}]},
            "unsupported_conversation",
            "messages.0.role",
        ),
        (
            {"messages": [{"role": "system", "content": [image_part()]}, *messages()]},
            "unsupported_content",
            "messages.0.content.0",
        ),
        (
            {"messages": messages(TEXT, {"type": "input_audio", "input_audio": {}})},
            "unsupported_content",
            "messages.0.content.1",
        ),
        (
            {"messages": messages(TEXT, {"type": "image_url"})},
            "unsupported_content",
            "messages.0.content.1",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused(change: Any, code: str, param: str) -> None:
    error = refused(request(**change))
    assert (error.code, error.param) == (code, param)
    assert error.status == (404 if code == "model_not_found" else 400)
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
