"""The official client, unchanged, against a real server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from driftline_device.runtime.runtime import Question
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_shared.pair.pair import load_pair
from tests.fakes.api_device import Running, TalkingRuntime, data_url, messages, running_device
from tests.fakes.runtime import picture
from tests.fakes.tiny_pair import QUESTIONS, make_tiny_pair, random_image

pytestmark = pytest.mark.integration

TOKEN = "a-token-of-sixteen"


@pytest.fixture
def device(tmp_path: Path, pair_dir: Path, runtime: TalkingRuntime) -> Iterator[Running]:
    with running_device(tmp_path / "state", pair_dir, runtime) as running:
        yield running


@pytest.fixture
def client(device: Running) -> Iterator[OpenAI]:
    with OpenAI(base_url=device.url, api_key="none", max_retries=0, timeout=30.0) as made:
        yield made


def test_a_completion(client: OpenAI, device: Running) -> None:
    found: Any = client.chat.completions.create(
        model="fake", messages=messages(), temperature=0.7, top_p=0.9, seed=3
    )
    (choice,) = found.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "v0 green v0")
    assert choice.finish_reason == "stop"
    assert found.system_fingerprint.startswith("fake-")
    assert found.system_fingerprint.endswith("@0")
    assert found.driftline["adapter_version"] == 0
    usage = found.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (17, 3, 20)


def test_a_stream(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="fake",
            messages=messages(url=data_url(picture(2), "BMP")),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert texts == ["", "v0", " blue", " v0", ""]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * 4 + ["stop"]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert str(chunks[-2].system_fingerprint).endswith("@0")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3


def test_words_leave_while_the_model_still_speaks(client: OpenAI, runtime: TalkingRuntime) -> None:
    runtime.go.clear()
    stream = client.chat.completions.create(model="fake", messages=messages(), stream=True)
    heard = [next(stream).choices[0].delta.content for _ in range(2)]
    assert heard == ["", "v0"]
    assert runtime.num_words_said == 1
    runtime.go.set()
    assert [chunk.choices[0].delta.content for chunk in stream] == [" green", " v0", None]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("stream", [False, True])
def test_no_more_is_sent_than_was_asked_for(client: OpenAI, name: str, stream: bool) -> None:
    found: Any = client.chat.completions.create(
        model="fake", messages=messages(), stream=stream, extra_body={name: 2}
    )
    if stream:
        chunks = list(found)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "v0 green"
        assert chunks[-1].choices[0].finish_reason == "length"
        return
    assert found.choices[0].message.content == "v0 green"
    assert (found.choices[0].finish_reason, found.usage.completion_tokens) == ("length", 2)


def test_an_answer_that_the_pair_cuts_says_so(client: OpenAI, runtime: TalkingRuntime) -> None:
    runtime.ended = False
    found = client.chat.completions.create(model="fake", messages=messages(), max_tokens=1000)
    assert (found.choices[0].message.content, found.choices[0].finish_reason) == (
        "v0 green v0",
        "length",
    )


def test_the_models(client: OpenAI) -> None:
    (model,) = client.models.list()
    assert (model.id, model.owned_by) == ("fake", "driftline")
    assert model.driftline["adapter_version"] == 0  # type: ignore[attr-defined]
    assert client.models.retrieve("fake").id == "fake"
    assert client.models.retrieve("gpt/4o").id == "fake"


def test_errors_are_the_clients_own(client: OpenAI, device: Running) -> None:
    create: Any = client.chat.completions.create
    assert create(model="gpt-4o", messages=messages()).model == "fake"
    with pytest.raises(openai.BadRequestError) as bare:
        create(model="fake", messages=[{"role": "user", "content": "what?"}])
    assert (bare.value.code, bare.value.type) == ("picture_needed", "invalid_request_error")
    with pytest.raises(openai.BadRequestError, match="data URL") as fetched:
        create(model="fake", messages=messages(url="https://example.org/a.png"))
    assert fetched.value.param == "messages.0.content.1.image_url.url"
    device.daemon.request_stop()
    with pytest.raises(openai.InternalServerError) as late:
        create(model="fake", messages=messages())
    assert late.value.status_code == 503


def test_a_token_opens_it(tmp_path: Path, pair_dir: Path, runtime: TalkingRuntime) -> None:
    with running_device(tmp_path / "state", pair_dir, runtime, **{"api.token": TOKEN}) as device:
        with OpenAI(base_url=device.url, api_key=TOKEN, max_retries=0) as client:
            assert client.chat.completions.create(model="fake", messages=messages()).choices
        with OpenAI(base_url=device.url, api_key="another-token-here", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError) as refused:
                client.models.list()
            assert refused.value.code == "invalid_api_key"


def test_a_stream_fails_as_the_client_expects(client: OpenAI, runtime: TalkingRuntime) -> None:
    runtime.failures = 9
    with pytest.raises(openai.APIError, match="failed on this question"):
        for _ in client.chat.completions.create(model="fake", messages=messages(), stream=True):
            pass
    runtime.failures = 1
    found = client.chat.completions.create(model="fake", messages=messages(), stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in found) == "v0 green v0"


def test_the_asynchronous_client(device: Running) -> None:
    async def several() -> list[str | None]:
        async with AsyncOpenAI(base_url=device.url, api_key="none", max_retries=0) as client:
            made = [
                client.chat.completions.create(
                    model="fake", messages=messages(url=data_url(picture(number)))
                )
                for number in range(4)
            ]
            return [each.choices[0].message.content for each in await asyncio.gather(*made)]

    assert asyncio.run(several()) == [f"v0 {word} v0" for word in ("red", "green", "blue", "yes")]


def test_a_real_model_answers_as_without_the_api(tmp_path: Path) -> None:
    folder = make_tiny_pair(tmp_path / "pair")
    pair = load_pair(folder)
    runtime = TorchRuntime(pair)
    image = random_image(1)
    (alone,) = runtime.answer([Question(image=image, text=QUESTIONS[0])])
    with (
        running_device(tmp_path / "state", folder, runtime) as device,
        OpenAI(base_url=device.url, api_key="none", max_retries=0) as client,
    ):
        asked: Any = messages(question=QUESTIONS[0], url=data_url(image))
        whole = client.chat.completions.create(model=pair.name, messages=asked)
        parts = client.chat.completions.create(model=pair.name, messages=asked, stream=True)
        streamed = "".join(part.choices[0].delta.content or "" for part in parts)
    assert whole.choices[0].message.content == streamed == alone.text
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == alone.num_prompt_tokens
    assert whole.usage.completion_tokens == alone.num_steps
    assert whole.choices[0].finish_reason == ("stop" if alone.ended else "length")
