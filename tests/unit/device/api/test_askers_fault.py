"""A question that cannot be asked is the asker's: 400 with its sentence, as a stream too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from driftline_device.runtime.runtime import Answer, Question
from driftline_shared.callbacks import OnToken
from driftline_shared.errors import DataError
from tests.fakes.api_device import TalkingRuntime, messages, request, running_device
from tests.fakes.runtime import write_pair

SENTENCE = "the question is 900 tokens long, and this model has room for 200"


class ShortRuntime(TalkingRuntime):
    """Has no room for some questions."""

    def answer(
        self, questions: Sequence[Question], *, on_token: OnToken | None = None
    ) -> list[Answer]:
        if any(len(question.text) > 100 for question in questions):
            raise DataError(SENTENCE)
        return super().answer(questions, on_token=on_token)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("question", "told"), [("what " * 200, SENTENCE), ("a\0b", "no text")])
def test_a_question_that_cannot_be_asked_gets_400_and_its_sentence(
    tmp_path: Path, question: str, told: str, stream: bool
) -> None:
    with running_device(tmp_path / "state", write_pair(tmp_path / "p"), ShortRuntime()) as running:
        body = request(messages=messages(question=question), stream=stream)
        status, _, reply = running.ask(body)
        assert status == 400 and told in reply["error"]["message"]
        assert reply["error"]["type"] == "invalid_request_error"
        assert running.daemon.snapshot().num_errors == 0
        assert running.ask(request())[0] == 200
