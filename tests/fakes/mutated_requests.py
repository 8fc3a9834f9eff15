"""Requests that are almost right: a good one with a part replaced, lost, doubled or spoilt."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

from tests.fakes.api_device import data_url, messages, request
from tests.fakes.client_calls import ASKED, HISTORY, SCHEMA, SEVERAL, SYSTEM, TOOL

CHAT, RESPONSES, FEEDBACK = "/v1/chat/completions", "/v1/responses", "/v1/feedback"

_FORM = {"type": "json_schema", "json_schema": {"name": "seen", "schema": SCHEMA}}

GOOD: tuple[tuple[str, Any], ...] = (
    (CHAT, request()),
    (CHAT, request(messages=HISTORY, stop=["a", "b"], temperature=0.5, max_tokens=2)),
    (CHAT, request(messages=SYSTEM, stream=True, stream_options={"include_usage": True})),
    (CHAT, request(messages=SEVERAL, tools=[TOOL], tool_choice="auto", logprobs=True)),
    (CHAT, request(response_format=_FORM, n=1, seed=1, user="me", metadata={"a": "b"})),
    (CHAT, request(messages=messages(url=data_url(form="JPEG")), logit_bias={}, modalities=[])),
    (RESPONSES, {"model": "fake", "input": ASKED, "instructions": "Be brief."}),
    (
        RESPONSES,
        {
            "input": [*ASKED, {"type": "function_call", "name": "f"}, *ASKED],
            "text": {"format": {**_FORM["json_schema"], "type": "json_schema"}},
            "stream": True,
            "include": [],
        },
    ),
    (FEEDBACK, {"id": "0" * 32, "right": False, "answer": "red"}),
)

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan")),
    *(float("inf"), "", " ", "\x00", "\ud800", "x" * 5_000, "é🙂\u202e", "<image>", "</s>", "*"),
    *([], {}, [[]], [None], {"type": "text"}, {"type": "object"}, {"$ref": "#"}, {"url": 1}),
    *({"enum": [1, None, True, "1", 1e300]}, {"type": ["string", "null"]}, {"role": "user"}),
    *("data:image/png;base64,", "data:,", "http://127.0.0.1/", "file:///etc/passwd"),
    *({"type": "image_url", "image_url": {}}, {"type": "input_image", "file_id": "f"}),
)


def mutated_body(dice: random.Random) -> tuple[str, bytes]:
    """A path and a body."""
    path, good = dice.choice(GOOD)
    body = copy.deepcopy(good)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        body = dice.choice(_ON_VALUES)(body, dice)
    data = json.dumps(body, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    if dice.random() < 0.3:
        data = _spoilt(data, dice)
    if dice.random() < 0.02:
        data = b"[" * dice.randint(1, 100_000) + data
    return (path if dice.random() < 0.95 else dice.choice((CHAT, RESPONSES, FEEDBACK))), data


def mutated_request(dice: random.Random) -> bytes:
    """A whole request, as it goes over the wire."""
    path, data = mutated_body(dice)
    head = [
        f"POST {path} HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        f"content-length: {len(data)}",
        "connection: close",
    ]
    kind = dice.random()
    if kind < 0.5:
        return "\r\n".join([*head, "", ""]).encode() + data
    if kind < 0.6:
        odd = dice.choice(_ODD_HEADERS)
        head.insert(dice.randint(1, len(head)), odd)
    elif kind < 0.7:
        del head[dice.randrange(1, len(head))]
    elif kind < 0.85:
        method, path = dice.choice(_METHODS), dice.choice(_PATHS)
        head[0] = f"{method} {path} HTTP/1.1"
    else:
        return _spoilt("\r\n".join([*head, "", ""]).encode(), dice) + data
    return "\r\n".join([*head, "", ""]).encode("latin-1", "replace") + data


_METHODS = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW", "CONNECT", "POST")

_PATHS = (
    *("/", "//", "/v1", "/v1/models", "/v1/models/%ff%00", "/v1/models/..%2f..%2fetc%2fpasswd"),
    *("/metrics", "/status", "/docs", "/openapi.json", "/health?x=%", "/ready/", "*", "/%", "/%00"),
    *("/history", "/history?before=%ff&live", "/history/x.png", "/history/%00.png", "/updates"),
    *("/history/" + "0" * 32, "/v1/chat/completions?api-version=1", "/" + "a" * 9_000, "/;/..;/"),
    *("http://localhost/health", "/v1/responses/resp_1", "/favicon.ico", "/" + "&a=b" * 999),
)

_ODD_HEADERS = (
    *("content-length: 5", "content-length: x", "content-length: -1", "content-encoding: gzip"),
    *("transfer-encoding: chunked", "expect: 100-continue", "upgrade: websocket", "x: \x7f"),
    *("host: evil.example", "host: [::1", "host: ", "origin: null", "origin: http://localhost"),
    *(
        "authorization: Bearer \xfc",
        "authorization: Basic !!!!",
        "x-request-id: a b",
        "a: " + "b" * 9_000,
    ),
    *(
        "content-type: text/plain",
        "content-type: application/x-www-form-urlencoded",
        "range: bytes=0-",
    ),
    *("content-type: multipart/form-data; boundary=", "accept: \xff", "connection: upgrade", ": x"),
    *(
        "x-request-id: " + "a" * 200,
        "access-control-request-method: POST",
        "cookie: a=b;;;=;",
        "\tx: y",
    ),
)


def _places(value: Any, found: list[tuple[Any, Any]] | None = None) -> list[tuple[Any, Any]]:
    """Every (holder, key) below `value`."""
    places = [] if found is None else found
    if isinstance(value, dict):
        keys: list[Any] = list(value)
    else:
        keys = list(range(len(value))) if isinstance(value, list) else []
    for key in keys:
        places.append((value, key))
        _places(value[key], places)
    return places


def _replaced(body: Any, dice: random.Random) -> Any:
    places = _places(body)
    if not places or dice.random() < 0.02:
        return copy.deepcopy(dice.choice(ODD))
    holder, key = dice.choice(places)
    holder[key] = copy.deepcopy(dice.choice(ODD))
    return body


def _lost(body: Any, dice: random.Random) -> Any:
    places = _places(body)
    if places:
        holder, key = dice.choice(places)
        del holder[key]
    return body


def _wrapped(body: Any, dice: random.Random) -> Any:
    places = _places(body)
    if places:
        holder, key = dice.choice(places)
        holder[key] = dice.choice(([holder[key]], {"type": holder[key]}, str(holder[key])))
    return body


def _moved(body: Any, dice: random.Random) -> Any:
    """One part stands where another one stood."""
    places = _places(body)
    if len(places) > 1:
        (holder, key), (other, name) = dice.sample(places, 2)
        holder[key] = copy.deepcopy(other[name])
    return body


def _doubled(body: Any, dice: random.Random) -> Any:
    lists = [each[key] for each, key in _places(body) if isinstance(each[key], list)]
    if lists:
        several = dice.choice(lists)
        several.extend(copy.deepcopy(several) * dice.choice((1, 2, 40)))
    return body


def _added(body: Any, dice: random.Random) -> Any:
    """A field of another kind of request, or of none."""
    if isinstance(body, dict):
        names = (
            "stop",
            "tools",
            "tool_choice",
            "functions",
            "input",
            "text",
            "format",
            "background",
        )
        body[dice.choice(names)] = copy.deepcopy(dice.choice(ODD))
    return body


_ON_VALUES: tuple[Callable[[Any, random.Random], Any], ...] = (
    *(_replaced, _replaced, _lost, _wrapped, _moved, _doubled, _added),
)


def _spoilt(data: bytes, dice: random.Random) -> bytes:
    """Some bytes changed, lost or doubled."""
    spoilt = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8))):
        if not spoilt:
            break
        at = dice.randrange(len(spoilt))
        kind = dice.randrange(4)
        if kind == 0:
            spoilt[at] = dice.randrange(256)
        elif kind == 1:
            del spoilt[at : at + dice.randint(1, 9)]
        elif kind == 2:
            spoilt[at:at] = spoilt[at : at + dice.randint(1, 40)]
        else:
            del spoilt[at:]
    return bytes(spoilt)
