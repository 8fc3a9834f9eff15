"""A device with its local API on a free port of loopback; a runtime that speaks word by word."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from driftline_device.config import load_config
from driftline_device.daemon.daemon import Daemon
from driftline_device.program.assembly import open_daemon
from driftline_device.runtime.likely import LikelyStep, Token
from driftline_device.runtime.runtime import Answer, Question, Runtime
from driftline_shared.callbacks import OnToken
from driftline_shared.host.loopback import free_port
from driftline_shared.pair.pair import load_pair
from tests.fakes.runtime import FakeRuntime, picture

NUM_WORDS = 3

REPLY_TIMEOUT_S = 120.0
"""Ends a test whose device hangs; on busy cores a torch model may take seconds for a reply."""


class TalkingRuntime(FakeRuntime):
    """Says "v<version> <word> v<version>", a token a word, reading its version at every word.

    `go` set lets it speak: it waits before its second word. `failures` ends that many answers after
    the first word, and leaves `version_after_failure` in force. `gives_likely`: it knows the
    probabilities of its words, halves, and one other word's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.go.set()
        self.waiting = threading.Event()
        self.failures = 0
        self.version_after_failure: int | None = None
        self.ended = True
        self.num_words_said = 0
        self.gives_likely = True

    def answer(
        self, questions: Sequence[Question], *, on_token: OnToken | None = None
    ) -> list[Answer]:
        with self.turns:
            self.calls += len(questions)
            return [self._say(row, question, on_token) for row, question in enumerate(questions)]

    def _say(self, row: int, question: Question, on_token: OnToken | None) -> Answer:
        answer = self._one(question)
        said: list[str] = []
        for number in range(NUM_WORDS):
            said.append(answer.text if number == 1 else f"v{self._version}")
            self.num_words_said += 1
            if on_token is not None:
                on_token(row, " ".join(said))
            if number == 0:
                self.waiting.set()
                assert self.go.wait(30.0)
                if self.failures:
                    self.failures -= 1
                    if self.version_after_failure is not None:
                        self._version = self.version_after_failure
                    raise RuntimeError("fails half-way")
        text = " ".join(said)
        return replace(
            answer,
            text=text,
            num_steps=NUM_WORDS,
            ended=self.ended,
            likely=self._likely(said, question.num_likely),
        )

    def _likely(self, said: Sequence[str], num: int | None) -> tuple[LikelyStep, ...]:
        if num is None or not self.gives_likely:
            return ()
        words = [said[0], *(f" {word}" for word in said[1:])]
        end = Token(text="</s>", log_p=-2.0, is_name=True)
        return tuple(
            LikelyStep(written=(own := Token(text=word, log_p=-0.5)), likely=(own, end)[:num])
            for word in words
        )


@dataclass(frozen=True, kw_only=True)
class Running:
    """A device that answers at `port` of 127.0.0.1."""

    daemon: Daemon
    port: int

    @property
    def url(self) -> str:
        """`base_url` of an OpenAI client."""
        return f"http://127.0.0.1:{self.port}/v1"

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers (lower-case names) and body, parsed where it is JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {"content-type": "application/json"} if data is not None else {}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=REPLY_TIMEOUT_S)
        try:
            connection.request(method, path, data, given | (headers or {}))
            reply = connection.getresponse()
            text = reply.read().decode()
            found = {name.lower(): value for name, value in reply.getheaders()}
            is_json = found.get("content-type", "").startswith("application/json")
            return reply.status, found, json.loads(text) if is_json and text else text
        finally:
            connection.close()

    def ask(self, body: Any, **headers: str) -> tuple[int, dict[str, str], Any]:
        """POST /v1/chat/completions."""
        return self.send("POST", "/v1/chat/completions", body, headers)


@contextmanager
def running_device(
    state: Path, pair: Path, runtime: Runtime, *, started: bool = True, **overrides: object
) -> Iterator[Running]:
    """A daemon with its API; started, and stopped at the end."""
    port = free_port()
    settings: dict[str, object] = {
        "state": str(state),
        "api.port": port,
        "status_s": 0.05,
        "seed": 1,
        "sampling.token_scorer": "magnitude",
    }
    config = load_config(None, settings | overrides, {})
    with open_daemon(config, load_pair(pair), runtime) as daemon:
        if started:
            daemon.start()
        try:
            yield Running(daemon=daemon, port=port)
        finally:
            daemon.stop(0.1)


def data_url(image: NDArray[np.uint8] | None = None, form: str = "PNG") -> str:
    """`image`, by default an easy picture, as a data URL."""
    buffer = io.BytesIO()
    Image.fromarray(picture(1) if image is None else image).save(buffer, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def image_part(url: str | None = None) -> dict[str, Any]:
    """A content part with an image."""
    return {"type": "image_url", "image_url": {"url": url or data_url()}}


def messages(
    *parts: dict[str, Any], question: str = "what?", url: str | None = None
) -> list[dict[str, Any]]:
    """One user message: `parts`, by default a question and an image."""
    content = list(parts) or [{"type": "text", "text": question}, image_part(url)]
    return [{"role": "user", "content": content}]


def request(**changes: Any) -> dict[str, Any]:
    """The body of a chat completion that is right but for `changes`."""
    return {"model": "fake", "messages": messages(), **changes}
