"""What four clients send by default, and what comes back: docs/api.md has its table from here.

The model says "v0 green v0" to whatever it is asked (see `TalkingRuntime`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.api_device import data_url, messages
from tests.fakes.runtime import picture

SAID = "v0 green v0"

REFUSED = "refused: "
"""Before the words that a clear refusal holds."""

TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
}

SCHEMA = {
    "title": "Seen",
    "description": "what is seen",
    "type": "object",
    "properties": {"color": {"type": "string", "enum": ["red", "green", "blue"]}},
    "required": ["color"],
}

HISTORY = [
    *messages(),
    {"role": "assistant", "content": "green"},
    {"role": "user", "content": "sure?"},
]

SYSTEM = [{"role": "system", "content": "You are a helpful assistant."}, *messages()]

BARE = [{"role": "user", "content": "Write a title for this chat."}]

SEVERAL = messages(
    {"type": "text", "text": "what?"},
    {"type": "image_url", "image_url": {"url": data_url(picture(0))}},
    {"type": "image_url", "image_url": {"url": data_url(picture(1))}},
)

ASKED = [
    {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "what?"},
            {"type": "input_image", "image_url": data_url()},
        ],
    }
]


@dataclass(frozen=True)
class ClientCall:
    """`expected`: what `make` gives, or a refusal. `said`: the same for people."""

    client: str
    what: str
    make: Callable[[Any], Any]
    expected: Any = SAID
    said: str = "the answer"

    @property
    def row(self) -> str:
        """A row of the document's table."""
        return f"| {self.client} | {self.what} | {self.said} |"


def _openai_calls() -> Iterator[ClientCall]:
    def chat(**changes: Any) -> Callable[[Any], Any]:
        def make(client: Any) -> Any:
            asked = {"model": "fake", "messages": messages(), **changes}
            return client.chat.completions.create(**asked).choices[0].message.content

        return make

    def streamed(client: Any) -> str:
        chunks = client.chat.completions.create(model="fake", messages=messages(), stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    def structured(client: Any) -> Any:
        form = {"type": "json_schema", "json_schema": {"name": "seen", "schema": SCHEMA}}
        found = client.chat.completions.parse(
            model="fake", messages=messages(), response_format=form
        )
        return found.choices[0].message.content

    def left_out(client: Any) -> Any:
        found = client.chat.completions.with_raw_response.create(model="fake", messages=SYSTEM)
        return found.headers["x-driftline-left-out"]

    def logprobs(client: Any) -> Any:
        asked = {"logprobs": True, "top_logprobs": 2}
        found = client.chat.completions.create(model="fake", messages=messages(), **asked)
        given = found.choices[0].logprobs.content
        return "".join(each.token for each in given), len(given[0].top_logprobs)

    def logprobs_streamed(client: Any) -> Any:
        asked = {"logprobs": True, "stream": True}
        chunks = client.chat.completions.create(model="fake", messages=messages(), **asked)
        given = [chunk.choices[0].logprobs for chunk in chunks]
        return "".join(each.token for found in given if found for each in found.content)

    def responses_logprobs(client: Any) -> Any:
        include = ["message.output_text.logprobs"]
        found = client.responses.create(model="fake", input=ASKED, include=include, top_logprobs=2)
        return "".join(each.token for each in found.output[0].content[0].logprobs)

    def responses(client: Any) -> Any:
        return client.responses.create(model="fake", input=ASKED).output_text

    def responses_streamed(client: Any) -> Any:
        with client.responses.stream(model="fake", input=ASKED) as stream:
            return stream.get_final_response().output_text

    def call(what: str, make: Callable[[Any], Any], *more: Any) -> ClientCall:
        return ClientCall("openai", what, make, *more)

    yield call("a question about a picture", chat())
    yield call("the same as a stream", streamed)
    yield call("`model` of any name", chat(model="gpt-4o"))
    yield call("a second question about the same picture", chat(messages=HISTORY))
    yield call("a system message", chat(messages=SYSTEM))
    yield call(
        "its reply's header `x-driftline-left-out`",
        left_out,
        "system",
        "`system`: it had no effect",
    )
    yield call("text beside several pictures", chat(messages=SEVERAL), SAID, "about the last one")
    yield call("`stop`", chat(stop=[" green"]), "v0", "the answer, cut there")
    yield call("`max_tokens`", chat(max_tokens=1), "v0", "the answer, cut there")
    yield call(
        "`temperature`, `seed`, `user`, `metadata`, `n=1`",
        chat(temperature=0.7, seed=3, user="me", metadata={"a": "b"}, n=1),
        SAID,
        "the answer, which is greedy",
    )
    yield call("`logprobs`", logprobs, (SAID, 2), "the answer, and those of its tokens")
    yield call(
        "the same as a stream",
        logprobs_streamed,
        SAID,
        "the answer, and in its last chunk all of them",
    )
    yield call("`top_logprobs` of `responses`", responses_logprobs, SAID, "the same")
    yield call("`tools`", chat(tools=[TOOL]), SAID, "the answer; no tool is called")
    yield call(
        "`tools` with `tool_choice=required`",
        chat(tools=[TOOL], tool_choice="required"),
        f"{REFUSED}calls no tools",
        "400: this model calls no tools",
    )
    yield call(
        "`response_format` json_object",
        chat(response_format={"type": "json_object"}),
        '{"answer": "v0 green v0"}',
        "the answer in the field `answer`",
    )
    yield call(
        "`response_format` json_schema of one field, an enum",
        structured,
        '{"color": "green"}',
        "one of the enum's values",
    )
    yield call("`responses.create`", responses)
    yield call("`responses.stream`", responses_streamed)
    yield call(
        "text alone", chat(messages=BARE), f"{REFUSED}no picture", "400: there is no picture"
    )
    yield call(
        "an http URL of a picture",
        chat(messages=messages(url="https://example.org/a.png")),
        f"{REFUSED}fetches no URLs",
        "400: this device fetches no URLs",
    )
    yield call("`models.list`", lambda client: client.models.list().data[0].id, "fake", "the pair")


def _litellm_calls() -> Iterator[ClientCall]:
    def complete(**changes: Any) -> Callable[[Any], Any]:
        def make(lite: Any) -> Any:
            asked = {"model": "openai/fake", "messages": messages(), **changes}
            return lite("completion", **asked).choices[0].message.content

        return make

    def streamed(lite: Any) -> str:
        chunks = lite("completion", model="openai/fake", messages=messages(), stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    def responses(lite: Any) -> Any:
        found = lite("responses", model="openai/fake", input=ASKED)
        return found.output[0].content[0].text

    yield ClientCall("litellm", "`completion`", complete())
    yield ClientCall("litellm", "the same as a stream", streamed)
    yield ClientCall("litellm", "`stop`", complete(stop=["\n"]))
    yield ClientCall("litellm", "a second question", complete(messages=HISTORY))
    yield ClientCall("litellm", "`responses`", responses)
    yield ClientCall(
        "litellm",
        "text alone, its health check",
        complete(messages=BARE),
        f"{REFUSED}no picture",
        "400: there is no picture",
    )


def _langchain_calls() -> Iterator[ClientCall]:
    def human(*extra: Any) -> list[Any]:
        from langchain_core.messages import HumanMessage

        return [HumanMessage(content=messages()[0]["content"]), *extra]

    def block(model: Any) -> Any:
        from langchain_core.messages import HumanMessage

        data = data_url().partition(",")[2]
        picture_block = {"type": "image", "base64": data, "mime_type": "image/png"}
        content: list[Any] = [{"type": "text", "text": "what?"}, picture_block]
        return model().invoke([HumanMessage(content=content)]).content

    def history(model: Any) -> Any:
        from langchain_core.messages import AIMessage, HumanMessage

        return model().invoke(human(AIMessage("green"), HumanMessage("sure?"))).content

    def structured(method: str) -> Callable[[Any], Any]:
        def make(model: Any) -> Any:
            return model().with_structured_output(SCHEMA, method=method).invoke(human())

        return make

    def newer(model: Any) -> Any:
        return model(use_responses_api=True).invoke(human()).text

    def call(what: str, make: Callable[[Any], Any], *more: Any) -> ClientCall:
        return ClientCall("langchain", what, make, *more)

    yield call("`invoke`", lambda model: model().invoke(human()).content)
    yield call("a picture as langchain's own block", block)
    yield call("`stream`", lambda model: "".join(str(c.content) for c in model().stream(human())))
    yield call("history", history)
    yield call("`stop`", lambda model: model().invoke(human(), stop=["x"]).content)
    yield call("`bind_tools`", lambda model: model().bind_tools([TOOL]).invoke(human()).content)
    one = {"color": "green"}, "the field, filled in"
    yield call("`with_structured_output`", structured("json_schema"), *one)
    yield call(
        "the same with `json_mode`",
        structured("json_mode"),
        {"answer": SAID},
        "the answer in the field `answer`",
    )
    yield call(
        "the same with `function_calling`",
        structured("function_calling"),
        f"{REFUSED}calls no tools",
        "400: this model calls no tools",
    )
    yield call("`use_responses_api=True`", newer)


def _llm_calls() -> Iterator[ClientCall]:
    def ask(*, stream: bool = True, **more: Any) -> Callable[[Any], Any]:
        def make(llm: Any) -> Any:
            asked = {"attachments": [llm.attachment], "stream": stream, **more}
            return llm.model.prompt("what?", **asked).text()

        return make

    def second(llm: Any) -> Any:
        talk = llm.model.conversation()
        talk.prompt("what?", attachments=[llm.attachment]).text()
        return talk.prompt("sure?").text()

    yield ClientCall("llm", "a prompt with `-a`", ask())
    yield ClientCall("llm", "`--no-stream`", ask(stream=False))
    yield ClientCall("llm", "`-s`, a system message", ask(system="You are a helpful assistant."))
    yield ClientCall("llm", "`-c`, a second turn", second)


CALLS = (*_openai_calls(), *_litellm_calls(), *_langchain_calls(), *_llm_calls())


def table() -> str:
    """The document's table."""
    return (
        "\n".join(["| client | call | result |", "|---|---|---|", *(c.row for c in CALLS)]) + "\n"
    )


def offline(home: Path) -> dict[str, str]:
    """Environment in which none of the clients looks for anything elsewhere."""
    return {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "LANGSMITH_TRACING": "false",
        "LLM_USER_PATH": str(home),
        "LLM_LOAD_PLUGINS": "",
        "OPENAI_API_KEY": os.environ.get("OPENAI_API_KEY", "none"),
    }
