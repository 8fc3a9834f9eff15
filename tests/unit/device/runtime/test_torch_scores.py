"""Mutual information and the model's token scorers against slow literal twins."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from driftline_device.runtime.runtime import Answer, Question
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_shared.dropout import DropoutMasks
from driftline_shared.errors import ConfigError, UpdateError
from driftline_shared.models.adapters.slots import dropout_passes
from driftline_shared.pair.export_file import middle_third
from driftline_shared.pair.pair import load_pair
from tests.fakes.tiny_pair import make_tiny_pair, random_image

QUESTION = "what color is the circle?"
PASSES = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_pair(tmp_path_factory.mktemp("pair"), quantization="none")


@pytest.fixture(scope="module")
def runtime(folder: Path) -> TorchRuntime:
    made = TorchRuntime(load_pair(folder))
    # A base of small random numbers answers almost uniformly: sharpen it, so that scores differ.
    rng = np.random.default_rng(2)
    made.swap(
        {
            name: (array + 0.4 * rng.standard_normal(array.shape)).astype(np.float32)
            for name, array in made.adapter().items()
        },
        1,
    )
    return made


@pytest.fixture(scope="module")
def answer(runtime: TorchRuntime) -> Answer:
    return runtime.answer([Question(image=random_image(3), text=QUESTION)])[0]


def literal_passes(runtime: TorchRuntime, answer: Answer, seed: int) -> torch.Tensor:
    """(K, V, D) projected tokens by the projector's own layers, dropout written out."""
    masks = DropoutMasks(rate=runtime.pair.adapter.dropout, seed=seed)
    projector: Any = runtime._model.model.get_submodule(
        "base_model.model.model.multi_modal_projector"
    )
    hidden = projector.act(projector.linear_1(torch.from_numpy(answer.tokens.values)))
    drawn = masks.draw("projector.linear_2", (PASSES, *hidden.shape))
    return torch.stack(
        [projector.linear_2(hidden * mask) for mask in torch.from_numpy(drawn)]
    ).detach()


def entropy(p: np.ndarray) -> float:
    return float(-sum(x * math.log(x) for x in p.tolist() if x > 0))


def test_mc_dropout_is_variance_over_squared_norm(runtime: TorchRuntime, answer: Answer) -> None:
    got = runtime.score_tokens("mc_dropout", QUESTION, answer, passes=PASSES, seed=4)
    passes = literal_passes(runtime, answer, 4).double().numpy()
    for v in range(passes.shape[1]):
        mean = passes[:, v].mean(axis=0)
        variance = sum(((passes[k, v] - mean) ** 2).sum() for k in range(PASSES)) / PASSES
        assert got[v] == pytest.approx(variance / (mean**2).sum(), rel=1e-3)


def test_vocabulary_entropy_is_epistemic_only(runtime: TorchRuntime, answer: Answer) -> None:
    got = runtime.score_tokens("vocabulary_entropy", QUESTION, answer, passes=PASSES, seed=4)
    model: Any = runtime._model.model
    with torch.no_grad():
        hidden = model.get_decoder().norm(literal_passes(runtime, answer, 4))
        p = torch.softmax(model.get_output_embeddings()(hidden).double(), dim=-1).numpy()
    for v in range(p.shape[1]):
        literal = entropy(p[:, v].mean(axis=0)) - np.mean([entropy(row) for row in p[:, v]])
        assert got[v] == pytest.approx(literal, abs=2e-5)
    assert got.max() > 1e-3


def test_attribution_is_entropy_weighted_attention(runtime: TorchRuntime, answer: Answer) -> None:
    got = runtime.score_tokens("answer_attribution", QUESTION, answer, passes=1, seed=0)
    model: Any = runtime._model
    decoder = model.model.get_decoder()
    with torch.no_grad():
        projected = model.project(torch.from_numpy(answer.tokens.values)[None])
        positions = torch.from_numpy(answer.tokens.positions.astype(np.int64))[None]
        batch = model.batch(projected, positions, [QUESTION], [list(answer.step_ids)])
        decoder.set_attn_implementation("eager")
        out = decoder(
            inputs_embeds=batch.inputs_embeds,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            output_attentions=True,
        )
        decoder.set_attn_implementation("sdpa")
        logits = model.model.get_output_embeddings()(out.last_hidden_state)
    p = torch.softmax(logits[0].double(), dim=-1).numpy()
    visual = batch.visual[0].numpy()
    layers = [out.attentions[i][0].numpy() for i in middle_third(len(out.attentions))]
    sums, weight = np.zeros(len(visual)), 0.0
    for at in range(p.shape[0] - len(answer.step_ids) - 1, p.shape[0] - 1):
        h = entropy(p[at])
        weight += h
        for layer in layers:
            for head in layer:
                sums += h * head[at, visual] / len(layers) / len(layer)
    np.testing.assert_allclose(got, sums / weight, rtol=1e-3, atol=1e-6)


def test_question_attention_is_the_largest_weight_of_the_questions_words(
    runtime: TorchRuntime, answer: Answer
) -> None:
    got = runtime.score_tokens("question_attention", QUESTION, answer, passes=1, seed=0)
    model: Any = runtime._model
    decoder = model.model.get_decoder()
    with torch.no_grad():
        projected = model.project(torch.from_numpy(answer.tokens.values)[None])
        positions = torch.from_numpy(answer.tokens.positions.astype(np.int64))[None]
        batch = model.batch(projected, positions, [QUESTION])
        decoder.set_attn_implementation("eager")
        out = decoder(
            inputs_embeds=batch.inputs_embeds,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            output_attentions=True,
        )
        decoder.set_attn_implementation("sdpa")
    visual = batch.visual[0].tolist()
    # The template is "<s><image>{question}\n": its last token is no word of the question.
    words = range(max(visual) + 1, batch.inputs_embeds.shape[1] - 1)
    assert len(words) == len(model.tokenizer.tokenize(QUESTION))
    for at, v in enumerate(visual):
        literal = max(
            float(head[q, v]) for layer in out.attentions for head in layer[0] for q in words
        )
        assert got[at] == pytest.approx(literal, rel=1e-4)
    assert (
        got != runtime.score_tokens("answer_attribution", QUESTION, answer, passes=1, seed=0)
    ).any()


def test_mutual_information_is_bald_one_pass_at_a_time(
    runtime: TorchRuntime, answer: Answer
) -> None:
    got = runtime.mutual_information(QUESTION, answer, passes=PASSES, seed=4)
    model: Any = runtime._model
    masks = DropoutMasks(rate=runtime.pair.adapter.dropout, seed=4)
    tokens = torch.from_numpy(answer.tokens.values).expand(PASSES, -1, -1)
    positions = torch.from_numpy(answer.tokens.positions.astype(np.int64)).expand(PASSES, -1)
    ids = list(answer.step_ids)
    with torch.no_grad(), dropout_passes(model.model, masks):
        batch = model.batch(model.project(tokens), positions, [QUESTION] * PASSES, [ids] * PASSES)
        logits = model.forward(batch).logits
    p = torch.softmax(logits.double(), dim=-1).numpy()  # (K, T, vocabulary)
    steps = []
    for at in range(p.shape[1] - len(ids) - 1, p.shape[1] - 1):
        steps.append(entropy(p[:, at].mean(axis=0)) - np.mean([entropy(row) for row in p[:, at]]))
    assert got == pytest.approx(np.mean(steps) / math.log(model.vocab_size), rel=1e-2, abs=1e-6)
    assert got > 1e-5


def test_without_dropout_there_is_no_doubt(folder: Path) -> None:
    pair = load_pair(folder)
    runtime = TorchRuntime(replace(pair, adapter=replace(pair.adapter, dropout=0.0)))
    (answer,) = runtime.answer([Question(image=random_image(0), text=QUESTION)])
    assert runtime.mutual_information(QUESTION, answer, passes=4, seed=0) < 1e-6
    for scorer in ("mc_dropout", "vocabulary_entropy"):
        scores = runtime.score_tokens(scorer, QUESTION, answer, passes=4, seed=0)
        assert scores.max() < 2e-6


def test_scoring_leaves_no_trace(runtime: TorchRuntime, answer: Answer) -> None:
    def hooks() -> int:  # transformers keeps some of its own
        modules = runtime._model.model.modules()
        return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in modules)

    state, before = torch.random.get_rng_state(), hooks()
    usual = runtime._model.model.get_decoder().config._attn_implementation
    runtime.mutual_information(QUESTION, answer, passes=2, seed=1)
    for scorer in ("mc_dropout", "answer_attribution", "question_attention"):
        runtime.score_tokens(scorer, QUESTION, answer, passes=2, seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert runtime._model.model.get_decoder().config._attn_implementation == usual
    assert hooks() == before


def test_another_seed_gives_other_passes(runtime: TorchRuntime, answer: Answer) -> None:
    one, two = (
        runtime.score_tokens("mc_dropout", QUESTION, answer, passes=4, seed=seed) for seed in (1, 2)
    )
    assert (one != two).any()


def test_answers_from_stored_tokens_equal_answers_from_images(
    runtime: TorchRuntime, answer: Answer
) -> None:
    (again,) = runtime.answer_tokens([answer.tokens], [QUESTION])
    assert (again.text, again.step_ids) == (answer.text, answer.step_ids)
    some = answer.tokens.keep(np.asarray([1, 5, 9]))
    (partial,) = runtime.answer_tokens([some], [QUESTION])
    assert partial.tokens.num_tokens == 3
    scores = runtime.score_tokens("mc_dropout", QUESTION, partial, passes=2, seed=0)
    assert scores.shape == (3,)


def test_long_calls_run_in_blocks_with_the_same_answers(folder: Path) -> None:
    questions = [Question(image=random_image(i), text=QUESTION) for i in range(5)]
    whole = TorchRuntime(load_pair(folder)).answer(questions)
    blocks = TorchRuntime(load_pair(folder), max_batch=2).answer(questions)
    assert [a.step_ids for a in whole] == [a.step_ids for a in blocks]


def test_a_restart_begins_with_the_adapter_it_is_given(
    folder: Path, runtime: TorchRuntime, answer: Answer
) -> None:
    again = TorchRuntime(load_pair(folder), adapter=runtime.adapter(), version=9)
    (given,) = again.answer([Question(image=random_image(3), text=QUESTION)])
    assert (given.text, given.version) == (answer.text, 9)


def test_the_spare_slot_holds_one_trial_until_it_is_over(runtime: TorchRuntime) -> None:
    with runtime.trial(runtime.adapter()) as candidate:
        with pytest.raises(UpdateError, match="spare slot"), runtime.trial(runtime.adapter()):
            pass
        with pytest.raises(UpdateError, match="spare slot"):
            runtime.swap(runtime.adapter(), 3)
    with pytest.raises(UpdateError, match="over"):
        candidate.answer([])


def test_wrong_arguments_are_named(runtime: TorchRuntime, answer: Answer, folder: Path) -> None:
    with pytest.raises(ConfigError, match="attention"):
        runtime.score_tokens("attention", QUESTION, answer, passes=2, seed=0)
    with pytest.raises(ConfigError, match="passes"):
        runtime.mutual_information(QUESTION, answer, passes=0, seed=0)
    with pytest.raises(ConfigError, match="max_batch"):
        TorchRuntime(load_pair(folder), max_batch=0)


def test_a_picture_that_was_seen_is_not_read_again_and_no_swap_meets_old_answers(
    folder: Path,
) -> None:
    runtime = TorchRuntime(load_pair(folder))
    asked = [
        Question(image=random_image(number % 2), text=f"{QUESTION} {number}") for number in range(4)
    ]
    encode, num_read = runtime._model.encode, []

    def counted(images: Any) -> Any:
        num_read.append(len(images))
        return encode(images)

    runtime._model.encode = counted  # type: ignore[method-assign]
    before = runtime.answer(asked)
    adapter = {name: (array + 0.4).astype(np.float32) for name, array in runtime.adapter().items()}
    runtime.swap(adapter, 5)
    after = runtime.answer(asked)
    assert num_read == [2]
    fresh = TorchRuntime(load_pair(folder), adapter=adapter, version=5).answer(asked)
    for ours, theirs in zip(after, fresh, strict=True):
        assert (ours.step_ids, ours.version) == (theirs.step_ids, 5)
        assert ours.scores == pytest.approx(theirs.scores, abs=1e-4)
    assert [each.scores for each in after] != [each.scores for each in before]
