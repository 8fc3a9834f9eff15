"""A picture's further questions: answered as if each were the first, by the version in force."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftline_device.runtime.onnx.runtime import OnnxRuntime
from driftline_device.runtime.runtime import Answer, Question
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_shared.pair.pair import Pair
from driftline_shared.update import Adapter
from tests.fakes.tiny_export import make_tiny_export
from tests.fakes.tiny_pair import QUESTIONS, random_image

AnyRuntime = TorchRuntime | OnnxRuntime
TEXTS = (*QUESTIONS, "is there a circle, or rather something else?", "?")
ADAPTERS = 3


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    return make_tiny_export(tmp_path_factory.mktemp("second"))


@pytest.fixture(scope="module", params=["torch", "onnx"])
def make(request: pytest.FixtureRequest, pairs: tuple[Pair, Pair]) -> Callable[..., AnyRuntime]:
    if request.param == "torch":
        return lambda **given: TorchRuntime(pairs[0], **given)
    return lambda **given: OnnxRuntime(pairs[1], precision="fp32", **given)


def numbered(base: Adapter, number: int) -> Adapter:
    rng = np.random.default_rng(number)
    return {
        name: (array + 0.4 * number * rng.standard_normal(array.shape)).astype(np.float32)
        for name, array in base.items()
    }


def same(ours: Answer, wanted: Answer) -> None:
    assert (ours.step_ids, ours.version) == (wanted.step_ids, wanted.version)
    assert ours.num_prompt_tokens == wanted.num_prompt_tokens
    assert ours.scores == pytest.approx(wanted.scores, abs=1e-4)
    for step, other in zip(ours.likely, wanted.likely, strict=True):
        assert [each.log_p for each in step.likely] == pytest.approx(
            [each.log_p for each in other.likely], abs=1e-3
        )


CALL = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(TEXTS)), min_size=1, max_size=4)
STEPS = st.lists(st.one_of(CALL, st.integers(0, ADAPTERS - 1)), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def two(make: Callable[..., AnyRuntime]) -> tuple[AnyRuntime, AnyRuntime, list[Adapter]]:
    """One that keeps what it read, one that does not, and adapters for both."""
    kept, fresh = make(), make(prefix_bytes=0)
    return kept, fresh, [numbered(kept.adapter(), number) for number in range(ADAPTERS)]


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_whatever_was_asked_before_answers_are_those_of_a_first_question(
    two: tuple[AnyRuntime, AnyRuntime, list[Adapter]], steps: list[list[tuple[int, str]] | int]
) -> None:
    kept, fresh, adapters = two
    for step in steps:
        if isinstance(step, int):
            for runtime in (kept, fresh):
                runtime.swap(adapters[step], step)
            continue
        asked = [
            Question(image=random_image(number), text=text, shared=number == 0, num_likely=3)
            for number, text in step
        ]
        for ours, question in zip(kept.answer(asked), asked, strict=True):
            same(ours, fresh.answer([question])[0])


def test_a_further_question_reads_its_own_words_alone(make: Callable[..., AnyRuntime]) -> None:
    runtime = make()
    first = Question(image=random_image(1), text=TEXTS[0], shared=True)
    (answer,) = runtime.answer([first])
    read: list[int] = []
    if isinstance(runtime, TorchRuntime):
        language = runtime._student.plain.language  # type: ignore[union-attr]
        handle = language.register_forward_pre_hook(
            lambda _module, _given, named: read.append(named["inputs_embeds"].shape[1]),
            with_kwargs=True,
        )
    else:
        step = runtime._student.language.step

        def counted(embeds, *given, **named):  # type: ignore[no-untyped-def]
            read.append(embeds.shape[1])
            return step(embeds, *given, **named)

        runtime._student.language.step = counted  # type: ignore[method-assign]
    (second,) = runtime.answer([replace(first, text=TEXTS[3])])
    if isinstance(runtime, TorchRuntime):
        handle.remove()
    assert 1 < read[0] <= second.num_prompt_tokens - answer.tokens.num_tokens


def test_what_is_kept_is_bounded_and_goes_with_a_swap(make: Callable[..., AnyRuntime]) -> None:
    runtime = make()
    runtime.answer([Question(image=random_image(0), text=TEXTS[0], shared=True)])
    one = runtime._student.prefixes.num_bytes
    assert one > 0
    bounded = make(prefix_bytes=2 * one + 1)
    for number in range(5):
        bounded.answer([Question(image=random_image(number), text=TEXTS[0], shared=True)])
        assert bounded._student.prefixes.num_bytes <= 2 * one + 1
    assert bounded._student.prefixes.num_bytes == 2 * one
    bounded.swap(numbered(bounded.adapter(), 1), 1)
    assert bounded._student.prefixes.num_bytes == 0


def test_a_trial_meets_nothing_of_the_active_adapter(make: Callable[..., AnyRuntime]) -> None:
    runtime = make()
    question = Question(image=random_image(1), text=TEXTS[0], shared=True)
    runtime.answer([question, question])
    other = numbered(runtime.adapter(), 2)
    wanted = make(prefix_bytes=0, adapter=other, version=-1).answer([question])[0]
    with runtime.trial(other) as session:
        for _ in range(2):
            same(session.answer([question])[0], wanted)
    before = make(prefix_bytes=0).answer([question])[0]
    same(runtime.answer([question])[0], before)


def test_no_answer_mixes_versions_while_swaps_go_on(make: Callable[..., AnyRuntime]) -> None:
    runtime = make()
    adapters = [numbered(runtime.adapter(), number) for number in range(ADAPTERS)]
    asked = [Question(image=random_image(n % 2), text=TEXTS[n], shared=True) for n in range(3)]
    wanted = []
    for number, adapter in enumerate(adapters):
        runtime.swap(adapter, number)
        wanted.append([answer.scores["entropy"] for answer in runtime.answer(asked)])
    stop = threading.Event()

    def swap() -> None:
        number = 0
        while not stop.is_set():
            number = (number + 1) % ADAPTERS
            runtime.swap(adapters[number], number)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(25):
            for answer, number in zip(runtime.answer(asked), range(3), strict=True):
                expected = wanted[answer.version][number]
                assert answer.scores["entropy"] == pytest.approx(expected, abs=1e-4)
    finally:
        stop.set()
        thread.join()


def test_nothing_is_kept_of_a_picture_that_comes_once(
    make: Callable[..., AnyRuntime], tmp_path: Path
) -> None:
    runtime = make()
    for number in range(3):
        runtime.answer([Question(image=random_image(number), text=TEXTS[0])])
    assert runtime._student.prefixes.num_bytes == 0
