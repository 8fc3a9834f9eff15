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

FAMILIES = (
    "idefics3",
    "smolvlm",
    "llava_onevision",
    "llava_onevision_video",
    "qwen2_5_vl",
    "qwen3_vl",
)


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
    export_pair(pair, folder / "export", report=lambda _: None)
    return pair, load_pair(folder / "export")


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
    family, axes = exported.exported.family, exported.exported.layout.axes
    if len(axes) > 1 or (name != "tome" and not family.startswith("llava")):
        with pytest.raises(ConfigError, match=r"gives its tokens only|counts positions"):
            OnnxRuntime(exported, precision="fp32", compressor=choice)
        return
    for upload_from in ("survivors", "all"):
        twin = TorchRuntime(pair, compressor=choice, upload_from=upload_from)
        ours = OnnxRuntime(exported, precision="fp32", compressor=choice, upload_from=upload_from)
        adapter = trained(OnnxRuntime.adapter(ours), seed=3, step=0.1)
        twin.swap(adapter, 1)
        ours.swap(adapter, 1)
        for got, wanted in zip(ours.answer(asked[:3]), twin.answer(asked[:3]), strict=True):
            for left, expected in ((got.tokens, wanted.tokens), (got.read, wanted.read)):
                assert (left is None) == (expected is None)
                if left is not None and expected is not None:
                    np.testing.assert_array_equal(left.positions, expected.positions)
                    np.testing.assert_allclose(left.values, expected.values, atol=2e-4)
            assert (got.step_ids, got.num_prompt_tokens) == (
                wanted.step_ids,
                wanted.num_prompt_tokens,
            )
            assert got.scores == pytest.approx(wanted.scores, abs=1e-3)
