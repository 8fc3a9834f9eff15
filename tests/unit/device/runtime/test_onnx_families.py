"""Exports of other families beside their torch runtime, from random checkpoints: pictures, clips,
tokens, answers, every score, a swap, and what is sampled.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from driftline_device.runtime.onnx.runtime import OnnxRuntime
from driftline_device.runtime.runtime import Question
from driftline_device.runtime.scores import SCORERS
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_shared.errors import ConfigError
from driftline_shared.models.export.pair_export import export_pair
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.program.compressor import CompressorChoice
from tests.fakes.adapters import trained
from tests.fakes.families import noise
from tests.fakes.family_pair import make_family_pair
from tests.fakes.tiny_pair import QUESTIONS
from tests.fakes.twins import both_behind, check_same_answer, check_same_doubts

FAMILIES = (
    "idefics3",
    "smolvlm",
    "llava_onevision",
    "llava_onevision_video",
    "qwen2_5_vl",
    "qwen3_vl",
)


CUT = ("idefics3", "qwen2_5_vl")
"""Families exported as compressors between layers want it; others have the same graphs uncut."""


@pytest.fixture(scope="module", params=FAMILIES)
def pairs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Pair, Pair]:
    """A pair of the family, and its export."""
    if request.param == "llava_onevision_video":
        clips: tuple[Pair, Pair] = request.getfixturevalue("clip_pairs")
        return clips
    folder = tmp_path_factory.mktemp(request.param)
    pair = load_pair(make_family_pair(folder / "pair", request.param))
    cuts = [1] if request.param in CUT else []
    export_pair(pair, folder / "export", cuts=cuts, report=lambda _: None)
    return pair, load_pair(folder / "export")


@pytest.fixture(scope="module")
def cut(pairs: tuple[Pair, Pair], tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The pair's export as compressors between layers want it."""
    exported = pairs[1].exported
    if exported is not None and exported.model.cuts:
        return pairs[1]
    folder = tmp_path_factory.mktemp("cut") / "export"
    export_pair(pairs[0], folder, cuts=[1], report=lambda _: None)
    return load_pair(folder)


@pytest.fixture(scope="module")
def asked(pairs: tuple[Pair, Pair]) -> list[Question]:
    """Pictures, or clips of the pair's length, of other sizes than its canvas."""
    canvas = pairs[0].canvas
    frames = [canvas.frames] if canvas is not None and canvas.frames > 1 else []
    return [
        Question(image=noise(*frames, 40 + 9 * i, 64, seed=i), text=QUESTIONS[i % len(QUESTIONS)])
        for i in range(6)
    ]


@pytest.fixture(scope="module")
def twin(pairs: tuple[Pair, Pair]) -> TorchRuntime:
    return TorchRuntime(pairs[0])


@pytest.fixture(scope="module")
def fp32(pairs: tuple[Pair, Pair]) -> OnnxRuntime:
    return OnnxRuntime(pairs[1], precision="fp32")


@pytest.fixture(params=[0.0, 0.1], ids=["version 0", "trained"])
def both(
    request: pytest.FixtureRequest, twin: TorchRuntime, fp32: OnnxRuntime
) -> tuple[TorchRuntime, OnnxRuntime]:
    """Both under one adapter, swapped in."""
    adapter = trained(OnnxRuntime.adapter(fp32), seed=3, step=request.param)
    twin.swap(adapter, 1)
    fp32.swap(adapter, 1)
    return twin, fp32


def test_answers_tokens_and_scores_are_the_twins(
    both: tuple[TorchRuntime, OnnxRuntime], asked: list[Question]
) -> None:
    torch_answers, ours = (runtime.answer(asked) for runtime in both)
    for wanted, got in zip(torch_answers, ours, strict=True):
        np.testing.assert_allclose(got.tokens.values, wanted.tokens.values, atol=2e-4)
        np.testing.assert_array_equal(got.tokens.positions, wanted.tokens.positions)
        assert (got.text, got.step_ids, got.ended) == (wanted.text, wanted.step_ids, wanted.ended)
        assert got.num_prompt_tokens == wanted.num_prompt_tokens
        assert got.scores == pytest.approx(wanted.scores, abs=1e-3)
        assert got.version == 1


def test_stochastic_scores_are_the_twins_mask_by_mask(
    both: tuple[TorchRuntime, OnnxRuntime], asked: list[Question]
) -> None:
    twin, fp32 = both
    (answer,) = twin.answer(asked[:1])
    ours, wanted = (
        runtime.mutual_information(asked[0].text, answer, passes=4, seed=2)
        for runtime in (fp32, twin)
    )
    assert ours == pytest.approx(wanted, rel=1e-2, abs=1e-6)
    for scorer in SCORERS:
        got, expected = (
            runtime.score_tokens(scorer, asked[0].text, answer, passes=4, seed=2)
            for runtime in (fp32, twin)
        )
        np.testing.assert_allclose(got, expected, rtol=1e-2, atol=5e-5, err_msg=scorer)


def test_some_tokens_answer_as_under_torch(
    both: tuple[TorchRuntime, OnnxRuntime], asked: list[Question]
) -> None:
    (whole,) = both[0].answer(asked[:1])
    kept = np.arange(1, len(whole.tokens.values), 3)
    some = replace(
        whole.tokens,
        values=whole.tokens.values[kept],
        positions=whole.tokens.positions[kept],
    )
    wanted, got = (runtime.answer_tokens([some], [asked[0].text])[0] for runtime in both)
    assert got.step_ids == wanted.step_ids
    assert got.scores == pytest.approx(wanted.scores, abs=1e-3)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_rounded_graphs_answer_under_an_adapter(
    precision: str, pairs: tuple[Pair, Pair], asked: list[Question]
) -> None:
    runtime = OnnxRuntime(pairs[1], precision=precision)
    runtime.swap(trained(runtime.adapter(), seed=3, step=0.1), 1)
    answers = runtime.answer(asked)
    assert {answer.version for answer in answers} == {1}
    assert all(answer.step_ids and np.isfinite(answer.scores["entropy"]) for answer in answers)


@pytest.mark.parametrize("name", ["prumerge", "visionzip", "tome"])
def test_what_is_kept_and_merged_by_what_the_tower_says_is_the_twins(
    pairs: tuple[Pair, Pair], asked: list[Question], name: str
) -> None:
    """Tiles without padding, and clips whose tokens are pooled patches and a place."""
    pair, exported = pairs
    options: dict[str, Any] = {"keep": 0.4} | ({"where": "projector"} if name == "tome" else {})
    choice = CompressorChoice(name=name, options=options)
    assert exported.exported is not None
    if name != "tome" and not exported.exported.family.startswith("llava"):
        with pytest.raises(ConfigError, match="gives its tokens only"):
            OnnxRuntime(exported, precision="fp32", compressor=choice)
        return
    for upload_from in ("survivors", "all"):
        twin = TorchRuntime(pair, compressor=choice, upload_from=upload_from)
        ours = OnnxRuntime(exported, precision="fp32", compressor=choice, upload_from=upload_from)
        adapter = trained(OnnxRuntime.adapter(ours), seed=3, step=0.1)
        twin.swap(adapter, 1)
        ours.swap(adapter, 1)
        answers = twin.answer(asked[:3])
        for got, wanted in zip(ours.answer(asked[:3]), answers, strict=True):
            for left, whole in ((got.tokens, wanted.tokens), (got.read, wanted.read)):
                assert (left is None) == (whole is None)
                if left is not None and whole is not None:
                    np.testing.assert_array_equal(left.positions, whole.positions)
                    np.testing.assert_allclose(left.values, whole.values, atol=2e-4)
            assert (got.step_ids, got.num_prompt_tokens) == (
                wanted.step_ids,
                wanted.num_prompt_tokens,
            )
            assert got.scores == pytest.approx(wanted.scores, abs=1e-3)
        # Doubt is over what was read, merged tokens, whichever may be sent.
        doubt, expected = (
            each.mutual_information(asked[0].text, answers[0], passes=2, seed=2)
            for each in (ours, twin)
        )
        assert doubt == pytest.approx(expected, rel=1e-2, abs=1e-6)


COMPRESSORS: dict[str, dict[str, Any]] = {
    "divprune": {"keep": 0.3},
    "fastv": {"keep": 0.3, "layer": 1},
    "pyramiddrop": {"keep": 0.5, "stages": 2, "layers": (1,)},
    "sparsevlm": {"keep": 0.6, "layers": (0,)},
    "vtw": {"layer": 1},
}
"""Methods before the language model and between two layers, of which one merges."""


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("pairs", ["idefics3", "qwen2_5_vl", "qwen3_vl"], indirect=True)
def test_a_compressor_leaves_what_it_leaves_under_torch(
    name: str, pairs: tuple[Pair, Pair], cut: Pair, asked: list[Question]
) -> None:
    choice = CompressorChoice(name=name, options=COMPRESSORS[name])
    twin, ours = both_behind((pairs[0], cut), choice, "survivors")
    torch_answers = twin.answer(asked)
    for wanted, got in zip(torch_answers, ours.answer(asked), strict=True):
        check_same_answer(got, wanted)
        if name != "vtw":  # before its layer it holds all
            assert got.tokens.num_tokens < pairs[0].token_space.grid.num_tokens
    check_same_doubts(twin, ours, asked[0].text, torch_answers[0])
