"""Exports of clips behind compressors beside the torch runtime behind the same: kept tokens,
positions, answers, scores, what may be sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from driftline_device.runtime.onnx.graphs import Graphs
from driftline_device.runtime.onnx.runtime import OnnxRuntime
from driftline_device.runtime.runtime import Question, UploadFrom
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.pair.pair import Pair
from driftline_shared.program.compressor import CompressorChoice
from tests.fakes.families import noise
from tests.fakes.tiny_pair import QUESTIONS
from tests.fakes.twins import both_behind, check_same_answer, check_same_doubts

FRAMES = 3

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "dart": ("dart", {"keep": 0.5, "layer": 2}),
    "dycoke": ("dycoke", {"keep": 0.6, "layer": 1, "prune": 0.5, "threshold": 0.999}),
    "dycoke, stage 1": ("dycoke", {"merge": 0.5, "prune": 0.0}),
    "evs": ("evs", {"keep": 0.5}),
    "fastv": ("fastv", {"keep": 0.25, "layer": 1}),
    "holitom": ("holitom", {"keep": 0.5, "still": 0.9, "layer": 2}),
    "longvu": ("longvu", {"keep": 0.6, "frame_threshold": 0.99, "frame_window": 2}),
    "longvu, cut": ("longvu", {"keep": 0.3, "frame_threshold": 0.9, "cut": "tail"}),
    "pyramiddrop": ("pyramiddrop", {"keep": 0.25, "stages": 3}),
    "pyramiddrop, own positions": ("pyramiddrop", {"keep": 0.3, "stages": 3, "renumber": False}),
    "sparsevlm": ("sparsevlm", {"keep": 0.5, "layers": (0, 1)}),
    "ts_llava": ("ts_llava", {"keep": 0.5, "thumbnail_frames": 2}),
    "ts_llava, other order": ("ts_llava", {"keep": 0.5, "order": "thumbnail_first"}),
    "vidcom2": ("vidcom2", {"keep": 0.4}),
}


@pytest.fixture(scope="module")
def asked() -> list[Question]:
    return [
        Question(image=noise(FRAMES, 40 + 9 * i, 64, seed=i), text=QUESTIONS[i % len(QUESTIONS)])
        for i in range(4)
    ]


def both(
    pairs: tuple[Pair, Pair], case: str, upload_from: UploadFrom
) -> tuple[TorchRuntime, OnnxRuntime]:
    name, options = CASES[case]
    return both_behind(pairs, CompressorChoice(name=name, options=options), upload_from)


@pytest.mark.parametrize(
    ("case", "upload_from"),
    [*((case, "survivors") for case in CASES), ("dycoke", "all"), ("ts_llava", "all")],
)
def test_answers_kept_tokens_and_scores_are_the_twins(
    clip_pairs: tuple[Pair, Pair], asked: Sequence[Question], case: str, upload_from: UploadFrom
) -> None:
    twin, ours = both(clip_pairs, case, upload_from)
    answers = twin.answer(asked)
    for got, wanted in zip(ours.answer(asked), answers, strict=True):
        check_same_answer(got, wanted)
        assert (got.read is None) == (wanted.read is None)
        if got.read is not None and wanted.read is not None:
            np.testing.assert_array_equal(got.read.positions, wanted.read.positions)
            np.testing.assert_allclose(got.read.values, wanted.read.values, atol=2e-4)
    if upload_from == "all":
        return
    answer, question = answers[0], asked[0].text
    if case == "holitom":
        # Its passes lack the tower's attention, as `answer_tokens` does.
        for each in (ours, twin):
            with pytest.raises(DataError, match="reads whole clips and their tower"):
                each.mutual_information(question, answer, passes=3, seed=2)
        return
    check_same_doubts(twin, ours, question, answer)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_rounded_graphs_choose_what_decoding_reads(
    clip_pairs: tuple[Pair, Pair], asked: Sequence[Question], precision: str
) -> None:
    name, options = CASES["dycoke"]
    choice = CompressorChoice(name=name, options=options)
    runtime = OnnxRuntime(clip_pairs[1], precision=precision, compressor=choice)
    answers = runtime.answer(asked)
    assert all(np.isfinite(answer.scores["entropy"]) for answer in answers)
    assert max(answer.num_steps for answer in answers) > 2
    doubt = runtime.mutual_information(asked[0].text, answers[0], passes=2, seed=1)
    assert 0.0 <= doubt <= 1.0


def test_graphs_that_do_not_show_by_what_to_choose_are_refused(
    clip_pairs: tuple[Pair, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, options = CASES["dycoke"]
    monkeypatch.setattr(Graphs, "outputs", lambda *_: ["hidden"])
    with pytest.raises(ConfigError, match=r"graphs int4 .*prune = 0"):
        OnnxRuntime(
            clip_pairs[1],
            precision="int4",
            compressor=CompressorChoice(name=name, options=options),
        )


def test_stored_tokens_are_refused_where_pictures_are_wanted(
    clip_pairs: tuple[Pair, Pair], asked: Sequence[Question]
) -> None:
    _, ours = both(clip_pairs, "ts_llava", "all")
    (answer,) = ours.answer(asked[:1])
    with pytest.raises(ConfigError, match="stored tokens"):
        ours.answer_tokens([answer.tokens], [asked[0].text])


def test_a_single_picture_is_refused_with_what_to_ask_about(
    clip_pairs: tuple[Pair, Pair],
) -> None:
    picture = Question(image=noise(40, 64), text=QUESTIONS[0])
    for runtime in (TorchRuntime(clip_pairs[0]), OnnxRuntime(clip_pairs[1], precision="fp32")):
        with pytest.raises(DataError, match=r"reads clips of 3 pictures .* single picture: ask"):
            runtime.answer([picture])
