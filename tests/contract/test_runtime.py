"""One suite for every Runtime: TorchRuntime, also with a compressor, OnnxRuntime in each precision,
and the fake that other tests use.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from driftline_device.runtime.likely import Token
from driftline_device.runtime.onnx.runtime import OnnxRuntime
from driftline_device.runtime.runtime import Answer, ChecksQuestions, Question, Runtime
from driftline_device.runtime.scores import SCORERS
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_shared.errors import DataError, UpdateError
from driftline_shared.p_ik.head import LEVELS, IkHead
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.program.compressor import CompressorChoice
from driftline_shared.update import Adapter
from tests.fakes.runtime import FakeRuntime, adapter, ik_head, picture
from tests.fakes.tiny_export import make_tiny_export
from tests.fakes.tiny_pair import QUESTIONS, make_tiny_pair, random_image


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Makes a fresh runtime; what to ask it; an adapter under which it answers otherwise; a P(IK)
    head that fits it, of a version.
    """

    make: Callable[[], Runtime]
    questions: list[Question]
    other: Callable[[Runtime], Adapter]
    head: Callable[[int], IkHead] = lambda version: random_head(STUDENT_WIDTH, version)


STUDENT_WIDTH = 32
"""Of the random pair's student."""


def random_head(width: int, version: int) -> IkHead:
    rng = np.random.default_rng(version)
    return IkHead(
        weights=np.concatenate([rng.standard_normal(width), [0.0, 0.0]]),
        bias=0.0,
        quantiles=np.linspace(2.0, -2.0, len(LEVELS)),
        num_source=99,
        version=version,
    )


def moved(runtime: Runtime) -> Adapter:
    rng = np.random.default_rng(1)
    return {
        name: (array + 0.5 * rng.standard_normal(array.shape)).astype(np.float32)
        for name, array in runtime.adapter().items()
    }


PRECISIONS = ("fp32", "onnx-int8", "int4")
COMPRESSED = "fastv"


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_tiny_export(tmp_path_factory.mktemp("export"))[1]


@pytest.fixture(scope="module", params=["none", "int8", "nf4", COMPRESSED, *PRECISIONS, "fake"])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    if request.param == "fake":
        pictures = [Question(image=picture(i, noise=i), text="what?") for i in range(6)]
        return Subject(
            make=FakeRuntime, questions=pictures, other=lambda _: adapter(harm=1.0), head=ik_head
        )
    images = [Question(image=random_image(i), text=QUESTIONS[i % 3]) for i in range(6)]
    if request.param in PRECISIONS:
        exported: Pair = request.getfixturevalue("export")
        precision = request.param.removeprefix("onnx-")
        return Subject(
            make=lambda: OnnxRuntime(exported, precision=precision), questions=images, other=moved
        )
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == COMPRESSED:
        pair = load_pair(make_tiny_pair(folder))
        choice = CompressorChoice(name=COMPRESSED, options={"keep": 0.25, "layer": 1})
        return Subject(
            make=lambda: TorchRuntime(pair, compressor=choice),
            questions=images,
            other=moved,
        )
    pair = load_pair(make_tiny_pair(folder, quantization=request.param))
    return Subject(make=lambda: TorchRuntime(pair), questions=images, other=moved)


@pytest.fixture
def runtime(subject: Subject) -> Runtime:
    return subject.make()


def texts(answers: list[Answer]) -> list[str]:
    return [answer.text for answer in answers]


def test_answers_say_what_sampling_needs(subject: Subject, runtime: Runtime) -> None:
    answers = runtime.answer(subject.questions)
    assert len(answers) == len(subject.questions)
    for answer in answers:
        assert answer.version == runtime.version == 0
        assert answer.num_steps >= 1
        assert answer.num_prompt_tokens > answer.tokens.num_tokens, "image and question"
        assert answer.tokens.values.dtype == np.float32
        assert answer.tokens.num_tokens == answer.tokens.grid.num_tokens
        assert set(answer.scores) >= {"entropy", "margin"}
        assert all(0.0 <= score <= 1.0 + 1e-6 for score in answer.scores.values())
    assert runtime.answer([]) == []
    assert len(runtime.base_model) >= 32


def test_a_batch_answers_as_one_by_one(subject: Subject, runtime: Runtime) -> None:
    together = runtime.answer(subject.questions)
    for question, batched in zip(subject.questions, together, strict=True):
        (alone,) = runtime.answer([question])
        assert alone.text == batched.text
        assert alone.scores["entropy"] == pytest.approx(batched.scores["entropy"], abs=1e-3)
        np.testing.assert_allclose(alone.tokens.values, batched.tokens.values, atol=1e-4)


def test_whoever_asks_gets_the_likely_tokens_of_the_very_steps(
    subject: Subject, runtime: Runtime
) -> None:
    if isinstance(runtime, FakeRuntime):
        pytest.skip("has no tokens")
    plain = runtime.answer(subject.questions)
    wanted = [None, 0, 2, 5, 20, None]
    asked = [
        replace(question, num_likely=num)
        for question, num in zip(subject.questions, wanted, strict=True)
    ]
    for answer, before, num in zip(runtime.answer(asked), plain, wanted, strict=True):
        assert (answer.text, answer.step_ids) == (before.text, before.step_ids)
        assert len(answer.likely) == (0 if num is None else answer.num_steps)
        assert all(len(step.likely) == num for step in answer.likely)
        if num is not None and "\N{REPLACEMENT CHARACTER}" not in answer.text:
            assert "".join(step.written.text for step in answer.likely) == answer.text
        if num:
            assert all(step.written.log_p == step.likely[0].log_p <= 0 for step in answer.likely)
            # The margin comes from the same probabilities.
            lead = [math.exp(a.log_p) - math.exp(b.log_p) for a, b, *_ in _likely(answer)]
            assert answer.scores["margin"] == pytest.approx(1.0 - np.mean(lead), abs=1e-4)


def _likely(answer: Answer) -> list[tuple[Token, ...]]:
    return [step.likely for step in answer.likely]


def test_a_callback_gets_every_answer_as_it_grows(subject: Subject, runtime: Runtime) -> None:
    texts_of: dict[int, list[str]] = {}
    answers = runtime.answer(
        subject.questions, on_token=lambda row, text: texts_of.setdefault(row, []).append(text)
    )
    assert texts(answers) == texts(runtime.answer(subject.questions))
    assert sorted(texts_of) == list(range(len(answers)))
    for row, answer in enumerate(answers):
        for earlier, later in pairwise(texts_of[row]):
            assert later.startswith(earlier)
        assert texts_of[row][-1] == answer.text.rstrip("\N{REPLACEMENT CHARACTER}")


def test_a_callback_that_raises_ends_its_call_only(subject: Subject, runtime: Runtime) -> None:
    def gone(_row: int, _text: str) -> None:
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        runtime.answer(subject.questions[:1], on_token=gone)
    assert len(runtime.answer(subject.questions[:1])) == 1


def test_uncertainty_has_a_shape_and_repeats(subject: Subject, runtime: Runtime) -> None:
    question = subject.questions[0]
    (answer,) = runtime.answer([question])
    doubt = runtime.mutual_information(question.text, answer, passes=4, seed=3)
    assert 0.0 <= doubt <= 1.0
    assert doubt == runtime.mutual_information(question.text, answer, passes=4, seed=3)
    for scorer in SCORERS:
        scores = runtime.score_tokens(scorer, question.text, answer, passes=4, seed=3)
        assert scores.shape == (answer.tokens.num_tokens,)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        assert (scores >= 0).all()
        again = runtime.score_tokens(scorer, question.text, answer, passes=4, seed=3)
        np.testing.assert_array_equal(scores, again)
    # Passes with dropout leave no trace in answers.
    assert texts(runtime.answer([question])) == [answer.text]


def test_a_trial_answers_otherwise_and_leaves_the_active_adapter_alone(
    subject: Subject, runtime: Runtime
) -> None:
    before, held = texts(runtime.answer(subject.questions)), runtime.adapter()
    with runtime.trial(subject.other(runtime)) as candidate:
        tried = texts(candidate.answer(subject.questions))
        assert tried != before
        assert texts(runtime.answer(subject.questions)) == before
        assert texts(candidate.answer(subject.questions)) == tried
    assert runtime.version == 0
    assert texts(runtime.answer(subject.questions)) == before
    for name, array in runtime.adapter().items():
        np.testing.assert_array_equal(array, held[name])


def test_a_trial_of_the_active_adapter_agrees_with_it(subject: Subject, runtime: Runtime) -> None:
    with runtime.trial(runtime.adapter()) as candidate:
        assert texts(candidate.answer(subject.questions)) == texts(
            runtime.answer(subject.questions)
        )


def test_swap_changes_version_adapter_and_answers(subject: Subject, runtime: Runtime) -> None:
    other = subject.other(runtime)
    with runtime.trial(other) as candidate:
        tried = texts(candidate.answer(subject.questions))
    pause_ms = runtime.swap(other, 7)
    assert pause_ms >= 0.0
    assert runtime.version == 7
    answers = runtime.answer(subject.questions)
    assert {answer.version for answer in answers} == {7}
    assert texts(answers) == tried
    for name, array in runtime.adapter().items():
        np.testing.assert_array_equal(array, other[name])


def test_swapping_back_gives_the_first_answers_again(subject: Subject, runtime: Runtime) -> None:
    first, before = runtime.adapter(), texts(runtime.answer(subject.questions))
    runtime.swap(subject.other(runtime), 1)
    runtime.swap(first, 2)
    assert runtime.version == 2
    assert texts(runtime.answer(subject.questions)) == before


def test_a_head_judges_every_answer_and_comes_with_its_adapter(
    subject: Subject, runtime: Runtime
) -> None:
    assert runtime.ik_head is None
    assert all(answer.p_ik is None for answer in runtime.answer(subject.questions))
    first, other = runtime.adapter(), subject.other(runtime)
    runtime.swap(other, 1, subject.head(1))
    judged = runtime.answer(subject.questions)
    for answer in judged:
        assert answer.p_ik is not None
        assert answer.p_ik.version == answer.version == 1
        assert 0.0 <= answer.p_ik.score <= 1.0
        assert 0.0 < answer.p_ik.p_value <= 1.0
    for question, together in zip(subject.questions, judged, strict=True):
        (alone,) = runtime.answer([question])
        assert alone.p_ik is not None
        assert together.p_ik is not None
        assert alone.p_ik.score == pytest.approx(together.p_ik.score, abs=1e-3)
    with runtime.trial(first) as trial:
        assert trial.answer(subject.questions[:1])[0].p_ik is None, "it was fitted for another"
    runtime.swap(first, 2)
    assert runtime.ik_head is not None
    assert runtime.ik_head.version == 1, "an update without a head: the one in force stays"
    runtime.swap(first, 3, subject.head(3))
    (answer,) = runtime.answer(subject.questions[:1])
    assert answer.p_ik is not None
    assert answer.p_ik.version == 3


def test_both_runtimes_hand_a_head_the_same_state(tmp_path: Path) -> None:
    pair, exported = make_tiny_export(tmp_path)
    torch_runtime = TorchRuntime(pair)
    onnx_runtime = OnnxRuntime(exported, precision="fp32")
    head = random_head(STUDENT_WIDTH, 1)
    questions = [Question(image=random_image(i), text=QUESTIONS[i % 3]) for i in range(6)]
    found = []
    for runtime in (torch_runtime, onnx_runtime):
        runtime.swap(runtime.adapter(), 1, head)
        scores = [answer.p_ik.score for answer in runtime.answer(questions) if answer.p_ik]
        assert len(scores) == len(questions)
        found.append(scores)
    assert np.ptp(found[0]) > 0.05, "a head that says the same of all would agree with anything"
    np.testing.assert_allclose(found[0], found[1], atol=2e-3)


def test_an_adapter_that_does_not_fit_changes_nothing(subject: Subject, runtime: Runtime) -> None:
    before = texts(runtime.answer(subject.questions))
    name, *_ = runtime.adapter()
    narrow: dict[str, NDArray[np.float32]] = {**runtime.adapter(), name: np.ones(3, np.float32)}
    for wrong in (narrow, {"stranger": np.ones(3, np.float32)}):
        with pytest.raises(UpdateError):
            runtime.swap(wrong, 5)
        with pytest.raises(UpdateError), runtime.trial(wrong):
            pass
    assert runtime.version == 0
    assert texts(runtime.answer(subject.questions)) == before


def test_every_call_comes_from_one_version_while_swaps_go_on(
    subject: Subject, runtime: Runtime
) -> None:
    adapters = [runtime.adapter(), subject.other(runtime)]
    expected = []
    for one in adapters:
        with runtime.trial(one) as candidate:
            expected.append(texts(candidate.answer(subject.questions)))
    assert expected[0] != expected[1]
    calls: list[list[Answer]] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            calls.append(runtime.answer(subject.questions))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for version in range(1, 13):
            with runtime.trial(adapters[version % 2]) as candidate:
                assert texts(candidate.answer(subject.questions)) == expected[version % 2]
            runtime.swap(adapters[version % 2], version)
    finally:
        done.set()
        for thread in threads:
            thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    calls.append(runtime.answer(subject.questions))
    for answers in calls:
        (version,) = {answer.version for answer in answers}
        assert texts(answers) == expected[version % 2]
    assert calls[-1][0].version == 12


def test_a_question_that_never_fits_is_known_before_any_picture(
    subject: Subject, runtime: Runtime
) -> None:
    assert isinstance(runtime, ChecksQuestions)
    runtime.check_question(subject.questions[0].text)
    with pytest.raises(DataError, match="the question"):
        runtime.check_question("what " * 800)
