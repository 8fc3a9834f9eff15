"""Four clients, unchanged, against a real server: what they send by default is answered."""

from __future__ import annotations

import asyncio
import base64
import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.api_device import Running, TalkingRuntime, data_url, running_device
from tests.fakes.client_calls import CALLS, REFUSED, ClientCall, offline, table

pytestmark = [
    pytest.mark.integration,
    # What the clients do among themselves is theirs.
    pytest.mark.filterwarnings("ignore"),
]

DOCUMENT = Path(__file__).parents[4] / "docs" / "api.md"


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory, pair_dir: Path) -> Iterator[Running]:
    state = tmp_path_factory.mktemp("state")
    with running_device(state, pair_dir, TalkingRuntime()) as running:
        yield running


@pytest.fixture(autouse=True)
def closed_loops() -> Iterator[None]:
    """The clients leave event loops open, which must not be another test's warning."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(RuntimeError):  # none was left
            asyncio.get_event_loop_policy().get_event_loop().close()
        asyncio.set_event_loop(None)
        gc.collect()


def _openai(url: str) -> Any:
    from openai import OpenAI

    return OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60.0)


def _litellm(url: str) -> Any:
    litellm = pytest.importorskip("litellm", reason="the extra `clients`")
    litellm.suppress_debug_info = True

    def call(name: str, **asked: Any) -> Any:
        return getattr(litellm, name)(api_base=url, api_key="none", num_retries=0, **asked)

    return call


def _langchain(url: str) -> Any:
    found = pytest.importorskip("langchain_openai", reason="the extra `clients`")
    return partial(found.ChatOpenAI, model="fake", base_url=url, api_key="none", max_retries=0)


def _llm(url: str) -> Any:
    pytest.importorskip("llm", reason="the extra `clients`")
    import llm
    from llm.default_plugins.openai_models import Chat

    model = Chat("drift", model_name="fake", api_base=url, key="none", vision=True)
    model.key = "none"
    content = base64.b64decode(data_url().partition(",")[2])
    attachment = llm.Attachment(type="image/png", content=content)
    return SimpleNamespace(model=model, attachment=attachment)


CLIENTS: dict[str, Callable[[str], Any]] = {
    "openai": _openai,
    "litellm": _litellm,
    "langchain": _langchain,
    "llm": _llm,
}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.client}: {call.what}")
def test_what_clients_send_is_answered_or_clearly_refused(
    call: ClientCall, device: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in offline(tmp_path).items():
        monkeypatch.setenv(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = CLIENTS[call.client](device.url)
        if isinstance(call.expected, str) and call.expected.startswith(REFUSED):
            with pytest.raises(Exception, match=call.expected.removeprefix(REFUSED)) as refused:
                call.make(client)
            assert getattr(refused.value, "status_code", None) == 400
        else:
            assert call.make(client) == call.expected


def test_the_document_says_what_is_tested() -> None:
    assert table() in DOCUMENT.read_text(encoding="utf-8")
