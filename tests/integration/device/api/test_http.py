"""What every path answers, and what one client may cost the others."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from driftline_device.sampling.sampler import Sampler
from driftline_shared.errors import ConfigError, DriftlineError, Reason
from tests.fakes.api_device import (
    NUM_WORDS,
    Running,
    TalkingRuntime,
    data_url,
    free_port,
    messages,
    request,
    running_device,
)
from tests.fakes.runtime import picture
from tests.fakes.waiting import until

pytestmark = pytest.mark.integration

TOKEN = "a-token-of-sixteen"


@pytest.fixture
def opened(tmp_path: Path, pair_dir: Path, runtime: TalkingRuntime) -> Callable[..., Any]:
    return lambda **overrides: running_device(tmp_path / "state", pair_dir, runtime, **overrides)


@pytest.fixture
def device(opened: Callable[..., Any]) -> Iterator[Running]:
    with opened() as running:
        yield running


def check_error(found: tuple[int, dict[str, str], Any], status: int, code: str) -> str:
    """The message of an error in OpenAI's shape."""
    assert found[0] == status, found
    assert set(found[2]) == {"error"}
    error = found[2]["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert error["message"]
    return str(error["message"])


def test_how_the_device_is(device: Running) -> None:
    assert device.send("GET", "/health")[::2] == (200, {"status": "ok"})
    assert device.send("GET", "/ready")[::2] == (200, {"status": "ready"})
    assert device.ask(request())[0] == 200
    until(lambda: device.daemon.snapshot().num_answered == 1)
    status = device.send("GET", "/status")[2]
    assert (status["pair"], status["version"], status["num_answered"]) == ("fake", 0, 1)
    assert status["domains"] == {"api": {"num_answered": 1, "num_scored": 0, "num_correct": 0}}
    code, headers, text = device.send("GET", "/metrics")
    assert (code, headers["content-type"].partition(";")[0]) == (200, "text/plain")
    assert "driftline_device_answered_total 1.0" in text


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/embeddings", {}, 404, "not_found"),
        ("GET", "/v1/chat/completions", None, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", None, 405, "method_not_allowed"),
        ("GET", "/redoc", None, 404, "not_found"),
        ("POST", "/v1/chat/completions", b"{", 400, "invalid_json"),
        ("POST", "/v1/chat/completions", {}, 400, "invalid_value"),
    ],
)
def test_every_error_has_openais_shape(
    device: Running, method: str, path: str, body: Any, status: int, code: str
) -> None:
    check_error(device.send(method, path, body), status, code)


@pytest.mark.parametrize("path", ["/health", "/ready", "/status", "/metrics", "/v1/models"])
def test_whoever_asks_for_the_head_gets_it(device: Running, path: str) -> None:
    assert device.send("HEAD", path)[::2] == (200, "")


def test_a_slash_too_many_changes_nothing(device: Running) -> None:
    for path in ("/v1/chat/completions/", "//v1//chat/completions"):
        assert device.send("POST", path, request())[0] == 200
    assert device.send("GET", "/health/")[0] == 200


def test_a_long_path_does_not_come_back(device: Running) -> None:
    found = device.send("GET", "/" + "a" * 10_000)
    assert len(check_error(found, 404, "not_found")) < 200


def test_every_reply_has_an_id_the_clients_own_where_it_sent_one(device: Running) -> None:
    for method, path in (("GET", "/health"), ("GET", "/nowhere"), ("POST", "/v1/responses")):
        assert device.send(method, path)[1]["x-request-id"].startswith("req_")
    own = device.send("GET", "/health", headers={"x-request-id": "abc-1"})[1]["x-request-id"]
    assert own == "abc-1"
    odd = device.send("GET", "/health", headers={"x-request-id": "a b"})[1]["x-request-id"]
    assert odd.startswith("req_")


def test_requests_are_counted_and_timed(device: Running) -> None:
    assert device.ask(request())[0] == 200
    assert device.ask({})[0] == 400
    text = device.send("GET", "/metrics")[2]
    route = 'route="/v1/chat/completions"'
    name = "driftline_device_api_requests_total"
    assert f'{name}{{method="POST",{route},status="200"}} 1.0' in text
    assert f'{name}{{method="POST",{route},status="400"}} 1.0' in text
    assert f"driftline_device_api_request_seconds_count{{{route}}} 2.0" in text
    assert f"# TYPE {name} counter" in text
    assert "# TYPE driftline_device_answered_total counter" in text


def test_the_description_is_there_without_a_token(opened: Callable[..., Any]) -> None:
    with opened(**{"api.token": TOKEN}) as device:
        assert device.send("GET", "/openapi.json")[2]["openapi"] == "3.1.0"
        assert "<h1>Driftline device" in device.send("GET", "/docs")[2]


def test_pages_of_named_origins_may_ask_and_no_others(opened: Callable[..., Any]) -> None:
    page, other = "http://localhost:3000", "http://example.org"
    preflight = {"access-control-request-method": "POST", "origin": page}
    with opened(**{"api.cors_origins": (page,)}) as device:
        found = device.send("OPTIONS", "/v1/chat/completions", headers=preflight)
        assert (found[0], found[1]["access-control-allow-origin"]) == (200, page)
        assert device.ask(request(), origin=page)[1]["access-control-allow-origin"] == page
        preflight["origin"] = other
        assert device.send("OPTIONS", "/v1/chat/completions", headers=preflight)[0] == 400
        assert "access-control-allow-origin" not in device.ask(request(), origin=other)[1]


def test_without_such_a_setting_no_page_may_ask(device: Running) -> None:
    found = device.ask(request(), origin="http://localhost:3000")
    assert "access-control-allow-origin" not in found[1]


def test_paths_without_the_version_are_answered(device: Running) -> None:
    assert device.send("POST", "/chat/completions", request())[0] == 200
    assert device.send("GET", "/models")[2] == device.send("GET", "/v1/models")[2]


def test_probabilities_that_the_runtime_does_not_give_are_named(
    device: Running, runtime: TalkingRuntime
) -> None:
    runtime.gives_likely = False
    status, headers, body = device.ask(request(logprobs=True))
    assert (status, headers["x-driftline-left-out"]) == (200, "logprobs")
    assert body["choices"][0]["logprobs"] is None


def test_an_answer_that_does_not_fit_the_format_is_a_422(device: Running) -> None:
    schema = {"type": "object", "properties": {"many": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for stream in (False, True):
        found = device.ask(request(response_format=wanted, stream=stream))
        assert "v0 green v0" in check_error(found, 422, "answer_does_not_fit")


def test_a_form_is_not_json(device: Running) -> None:
    found = device.ask(request(), **{"content-type": "text/plain"})
    check_error(found, 415, "unsupported_media_type")


def test_a_body_is_sent_as_it_is(device: Running) -> None:
    found = device.ask(request(), **{"content-encoding": "gzip"})
    assert "gzip" in check_error(found, 415, "unsupported_media_type")


def test_an_image_that_is_broken_says_why(device: Running) -> None:
    found = device.ask(request(messages=messages(url="data:image/png;base64,aGVsbG8=")))
    assert "not an image" in check_error(found, 400, "invalid_image")


# -- who may ask ---------------------------------------------------------------------------------


def test_without_the_token_nothing_is_told(opened: Callable[..., Any]) -> None:
    with opened(**{"api.token": TOKEN}) as device:
        for path in ("/v1/models", "/status", "/metrics"):
            for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}):
                found = device.send("GET", path, headers=given)
                check_error(found, 401, "invalid_api_key")
                assert found[1]["www-authenticate"] == "Bearer"
            right = {"authorization": f"bearer {TOKEN}", "host": "device.example.org"}
            assert device.send("GET", path, headers=right)[0] == 200
        check_error(device.ask(request()), 401, "invalid_api_key")
        check_error(device.ask(request(), authorization="Bearer \xfc"), 401, "invalid_api_key")
        assert device.ask(request(), authorization=f"Bearer {TOKEN}")[0] == 200
        assert [device.send("GET", path)[0] for path in ("/health", "/ready")] == [200, 200]


def test_a_page_whose_name_points_to_loopback_is_refused(device: Running) -> None:
    found = device.ask(request(), host="evil.example.org")
    check_error(found, 403, "host_not_allowed")
    for host in ("", "[::1", "127.0.0.1.example.org", "10.0.0.1:80"):
        check_error(device.ask(request(), host=host), 403, "host_not_allowed")
    for host in ("localhost", f"127.0.0.1:{device.port}", "[::1]:80"):
        assert device.ask(request(), host=host)[0] == 200


def test_a_port_that_is_taken_ends_the_start(opened: Callable[..., Any]) -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(ConfigError, match=f"127.0.0.1:{port}"),
        opened(**{"api.port": port}),
    ):
        pass


# -- what one may cost ---------------------------------------------------------------------------


def raw(device: Running, *parts: bytes) -> tuple[int, Any]:
    """Status and body of a request written by hand."""
    with socket.create_connection(("127.0.0.1", device.port), timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
        text = b""
        while chunk := connection.recv(1 << 16):
            text += chunk
    head, _, body = text.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    b"content-type: application/json\r\n"
)


def test_a_large_body_is_refused_and_the_reason_arrives(opened: Callable[..., Any]) -> None:
    with opened(**{"api.max_body_bytes": 4096}) as device:
        found = device.ask(b" " * 3_000_000)
        assert "4096" in check_error(found, 413, "request_too_large")
        chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
        parts = [HEAD + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 200, b"0\r\n\r\n"]
        status, body = raw(device, *parts)
        assert (status, body["error"]["code"]) == (413, "request_too_large")
        assert device.ask(request())[0] == 200


def test_whoever_waits_to_be_told_to_go_on_is_refused_at_once(opened: Callable[..., Any]) -> None:
    with opened(**{"api.max_body_bytes": 4096}) as device:
        status, body = raw(device, HEAD + b"expect: 100-continue\r\ncontent-length: 5000\r\n\r\n")
        assert (status, body["error"]["code"]) == (413, "request_too_large")


def test_a_body_that_never_comes_is_not_waited_for(opened: Callable[..., Any]) -> None:
    with opened(**{"api.body_timeout_s": 0.2, "api.max_waiting": 0}) as device:
        with socket.create_connection(("127.0.0.1", device.port), timeout=30) as connection:
            connection.sendall(HEAD + b"content-length: 100\r\n\r\n{")
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408")
        assert device.ask(request())[0] == 200


def test_so_many_wait_and_no_more(opened: Callable[..., Any], runtime: TalkingRuntime) -> None:
    runtime.go.clear()
    with opened(**{"api.max_waiting": 2}) as device, ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(device.ask, request()) for _ in range(3)]
        until(lambda: device.daemon._answering._num_asks == 3)
        # A picture of noise: its body is still being written when the refusal leaves.
        large = request(messages=messages(url="data:image/png;base64," + "A" * 5_000_000))
        found = device.ask(large)
        check_error(found, 429, "too_many_requests")
        assert int(found[1]["retry-after"]) >= 1
        assert device.send("GET", "/ready")[0] == 200
        runtime.go.set()
        assert [each.result()[0] for each in asked] == [200] * 3
        until(lambda: device.ask(request())[0] == 200)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_answer_and_harms_nobody(
    device: Running, runtime: TalkingRuntime, stream: bool
) -> None:
    runtime.go.clear()
    body = json.dumps(request(stream=stream)).encode()
    with socket.create_connection(("127.0.0.1", device.port)) as connection:
        connection.sendall(HEAD + f"content-length: {len(body)}\r\n\r\n".encode() + body)
        assert runtime.waiting.wait(30.0)
    until(lambda: device.daemon._answering._num_asks == 1)
    threading.Event().wait(0.3)  # the server sees the end of the connection
    runtime.go.set()
    until(lambda: device.daemon._answering._num_asks == 0)
    assert runtime.num_words_said < NUM_WORDS
    snapshot = device.daemon.snapshot()
    assert (snapshot.num_answered, snapshot.num_errors) == (0, 0)
    assert device.ask(request())[0] == 200


# -- life ----------------------------------------------------------------------------------------


def test_before_the_start_and_while_draining_it_takes_no_questions(
    opened: Callable[..., Any], runtime: TalkingRuntime
) -> None:
    with opened(started=False) as device, ThreadPoolExecutor(2) as pool:
        assert device.send("GET", "/ready")[0] == 503
        found = device.ask(request())
        check_error(found, 503, "not_ready")
        assert "retry-after" in found[1]
        device.daemon.start()
        runtime.go.clear()
        in_hand = pool.submit(device.ask, request())
        assert runtime.waiting.wait(30.0)
        device.daemon.request_stop()
        stopped = pool.submit(device.daemon.stop, 0.1)
        assert (device.send("GET", "/ready")[0], device.send("GET", "/health")[0]) == (503, 200)
        check_error(device.ask(request()), 503, "not_ready")
        assert not stopped.done()
        runtime.go.set()
        status, _, body = in_hand.result()
        assert (status, body["choices"][0]["message"]["content"]) == (200, "v0 green v0")
        stopped.result()
        assert device.daemon.snapshot().num_answered == 1
        with pytest.raises(DriftlineError) as late:
            device.daemon.ask(None)  # type: ignore[arg-type]
        assert late.value.reason is Reason.STOPPING
    assert not [each for each in threading.enumerate() if each.name.startswith("driftline-")]


def test_a_model_that_fails_is_a_500_and_the_next_question_is_answered(
    device: Running, runtime: TalkingRuntime
) -> None:
    runtime.failures = 2
    check_error(device.ask(request()), 500, "internal")
    assert device.daemon.snapshot().num_errors == 1
    runtime.failures = 1
    assert device.ask(request())[0] == 200


def test_a_stream_is_not_continued_by_another_version(
    device: Running, runtime: TalkingRuntime
) -> None:
    """Version 0 fails after its first word has left; version 1 begins otherwise."""
    runtime.failures, runtime.version_after_failure = 1, 1
    status, _, text = device.ask(request(stream=True))
    events = [json.loads(line[6:]) for line in text.split("\n\n") if line]
    assert (status, "[DONE]" in text) == (200, False)
    said = [each["choices"][0]["delta"].get("content") for each in events[:-1]]
    assert said == ["", "v0"]
    assert events[-1]["error"]["code"] == "begun_anew"
    body = device.ask(request())[2]
    assert body["choices"][0]["message"]["content"] == "v1 green v1"


def test_a_reply_does_not_wait_for_sampling_and_the_sample_is_kept(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled = threading.Event()
    consider = Sampler.consider

    def slow(self: Sampler, *args: Any) -> Any:
        assert sampled.wait(30.0)
        return consider(self, *args)

    monkeypatch.setattr(Sampler, "consider", slow)
    hard = request(messages=messages(url=data_url(picture(1, hard=True))))
    policy = {"sampling.gate_quantile": 0.5, "sampling.max_sample_share": 1.0}
    with opened(**policy) as device:
        status, _, body = device.ask(hard)
        assert (status, body["driftline"]["uncertainty"]["entropy"]) == (200, 0.9)
        assert device.daemon.snapshot().num_answered == 0
        sampled.set()
        until(lambda: device.daemon.snapshot().num_sent == 1)
        device.daemon.stop(0.1)
        ((_, row),) = device.daemon._parts.spool.peek(max_bytes=1 << 20, max_samples=9)
        assert (row.sample.question, row.sample.answer) == (
            "what?",
            body["choices"][0]["message"]["content"],
        )


def test_one_client_is_never_too_many_however_slow_sampling_is(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    consider = Sampler.consider

    def slow(self: Sampler, *args: Any) -> Any:
        threading.Event().wait(0.02)
        return consider(self, *args)

    monkeypatch.setattr(Sampler, "consider", slow)
    with opened(**{"api.max_waiting": 0}) as device:
        assert [device.ask(request())[0] for _ in range(8)] == [200] * 8
        until(lambda: device.daemon.snapshot().num_seen == 8)


def test_port_0_serves_nothing(opened: Callable[..., Any]) -> None:
    with opened(**{"api.port": 0}):
        assert "driftline-api" not in {each.name for each in threading.enumerate()}
