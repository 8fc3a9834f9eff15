"""The owner's pages and feedback, over a real socket, from a running daemon."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.fakes.api_device import Running, TalkingRuntime, request, running_device
from tests.fakes.html import Reader
from tests.fakes.waiting import until

pytestmark = pytest.mark.integration

TOKEN = "a-token-of-sixteen"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def opened(tmp_path: Path, pair_dir: Path, runtime: TalkingRuntime) -> Callable[..., Any]:
    return lambda **overrides: running_device(tmp_path / "state", pair_dir, runtime, **overrides)


@pytest.fixture
def device(opened: Callable[..., Any]) -> Iterator[Running]:
    with opened() as running:
        assert running.ask(request())[0] == 200
        until(lambda: "what?" in running.send("GET", "/history")[2])
        yield running


def answer_id(device: Running) -> str:
    """Of the only answer."""
    page = device.send("GET", "/history")[2]
    return page.partition('<li id="')[2][:32]


def post(
    device: Running, fields: dict[str, str], **headers: str
) -> tuple[int, dict[str, str], Any]:
    path = f"/history/{answer_id(device)}"
    return device.send("POST", path, urlencode(fields).encode(), {**FORM, **headers})


def test_answers_are_shown_with_a_picture_and_nothing_from_elsewhere(device: Running) -> None:
    assert device.send("GET", "/")[1]["location"] == "/history"
    status, headers, text = device.send("GET", "/history")
    page = Reader(text)
    assert status == 200 and "form-action 'self'" in headers["content-security-policy"]
    assert "what?" in page.text and "fake" in page.text
    assert device.send("GET", "/updates")[0] == 200
    assert device.send("HEAD", "/history")[::2] == (200, "")


def test_a_form_marks_an_answer_and_leads_back(device: Running) -> None:
    found = answer_id(device)
    status, headers, _ = post(
        device, {"word": "wrong", "answer": " two ", "back": "/history?live=1"}
    )
    assert (status, headers["location"]) == (303, f"/history?live=1#{found}")
    assert "you said: wrong, right is two" in Reader(device.send("GET", "/history")[2]).text
    assert found in device.send("GET", "/history?marked=1")[2]
    post(device, {"word": "unmark"})
    assert "you said" not in device.send("GET", "/history")[2]


def test_a_marked_answer_keeps_its_picture(device: Running) -> None:
    found = answer_id(device)
    connection = HTTPConnection("127.0.0.1", device.port, timeout=30)
    connection.request("GET", f"/history/{found}.png")
    reply = connection.getresponse()
    assert (reply.status, reply.read()[:4]) == (200, b"\x89PNG")
    connection.close()
    assert device.send("GET", f"/history/{'0' * 32}.png")[0] == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_a_form_of_another_site_is_refused(device: Running, headers: dict[str, str]) -> None:
    assert post(device, {"word": "right"}, **headers)[0] == 403
    assert "you said" not in device.send("GET", "/history")[2]


@pytest.mark.parametrize(
    "back",
    ["//evil.example", "https://evil.example", "/status", "/history?before=<script>", "http://["],
)
def test_a_form_leads_back_to_the_history_and_nowhere_else(device: Running, back: str) -> None:
    location = post(device, {"word": "right", "back": back})[1]["location"]
    assert location.startswith("/history#")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"id": "{id}", "right": False, "answer": "two"}, 200),
        ({"id": "{id}", "right": True}, 200),
        ({"id": "{id}", "right": True, "answer": "two"}, 400),
        ({"id": "{id}", "right": "yes"}, 400),
        ({"id": "{id}"}, 400),
        ({"id": "0" * 32, "right": True}, 404),
        ({"id": "; DROP TABLE answers", "right": True}, 400),
        ({"id": "{id}", "right": False, "answer": ""}, 400),
        ({"id": "{id}", "right": False, "answer": "a\0b"}, 400),
        ({"id": "{id}", "right": False, "answer": "x" * 1001}, 400),
        ({"id": "{id}", "right": False, "more": 1}, 400),
        (b"{", 400),
        (b"x" * 20_000, 413),
    ],
)
def test_feedback_of_programs(device: Running, body: Any, status: int) -> None:
    if isinstance(body, dict):
        body = {**body, "id": body["id"].replace("{id}", answer_id(device))}
    found = device.send("POST", "/v1/feedback", body)
    assert found[0] == status, found
    if status == 200:
        assert found[2]["said"].startswith("v0") and found[2]["picture"] is True
    else:
        assert found[2]["error"]["message"]


def test_a_browser_is_asked_for_the_token_and_gives_it_as_a_password(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN, encoding="utf-8")
    with opened(**{"api.token_file": str(file)}) as device:
        status, headers, _ = device.send("GET", "/history")
        assert status == 401 and headers["www-authenticate"].startswith("Basic")
        for secret, wanted in ((TOKEN, 200), ("wrong", 401), ("", 401)):
            basic = base64.b64encode(f"me:{secret}".encode()).decode()
            given = {"authorization": f"Basic {basic}"}
            assert device.send("GET", "/history", headers=given)[0] == wanted
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert device.send("GET", "/history", headers=bearer)[0] == 200
        assert device.send("POST", "/v1/feedback", {"id": "0000", "right": True})[0] == 401
