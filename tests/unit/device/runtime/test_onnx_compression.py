"""An export behind a compressor beside the torch runtime behind the same: kept tokens, positions,
answers, scores, what may be sent.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftline_device.config import load_config
from driftline_device.doctor.machine import check_compressor
from driftline_device.runtime.factory import make_runtime
from driftline_device.runtime.onnx.runtime import OnnxRuntime
from driftline_device.runtime.runtime import Question, UploadFrom
from driftline_device.runtime.scores import SCORERS
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_shared.callbacks import ignore
from driftline_shared.errors import ConfigError, PairError
from driftline_shared.models.compression.methods.evs import EvsCompressor, EvsOptions
from driftline_shared.models.compression.portable import PORTABLE
from driftline_shared.models.compression.rows.rows import Kind, TokenRow
from driftline_shared.models.compression.table import METHODS
from driftline_shared.models.export.pair_export import export_pair
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.program.compressor import CompressorChoice
from driftline_shared.tokens import Grid
from tests.fakes.adapters import trained
from tests.fakes.compression import some_facts
from tests.fakes.tiny_export import make_tiny_export
from tests.fakes.tiny_pair import NUM_TOKENS, QUESTIONS, random_image
from tests.fakes.twins import both_behind, check_same_answer, check_same_doubts

ASKED = [Question(image=random_image(seed), text=QUESTIONS[seed % 3]) for seed in range(5)]

CASES: dict[str, dict[str, Any]] = {
    "dart": {"keep": 0.25, "layer": 1},
    "divprune": {"keep": 0.25},
    "evs": {"keep": 0.5},
    "fastv": {"keep": 0.25, "layer": 1},
    "prumerge": {"keep": 0.25},
    "pyramiddrop": {"keep": 0.25, "layers": (1,)},
    "sparsevlm": {"keep": 0.5, "layers": (0,)},
    "tome": {"keep": 0.25, "where": "projector"},
    "vidcom2": {"keep": 0.25},
    "visionzip": {"keep": 0.5},
    "vtw": {"layer": 1, "renumber": True},
}

ALL_STAY = ("evs", "vtw")
"""Of a clip of one frame all tokens stay; and all are read before a layer that has none."""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    return make_tiny_export(tmp_path_factory.mktemp("both"), cuts=[1])


def both(
    pairs: tuple[Pair, Pair], name: str, upload_from: UploadFrom
) -> tuple[TorchRuntime, OnnxRuntime]:
    return both_behind(pairs, CompressorChoice(name=name, options=CASES[name]), upload_from)


@pytest.mark.parametrize("upload_from", ["survivors", "all"])
@pytest.mark.parametrize("name", CASES)
def test_answers_and_kept_tokens_are_the_twins(
    pairs: tuple[Pair, Pair], name: str, upload_from: UploadFrom
) -> None:
    twin, ours = both(pairs, name, upload_from)
    for got, wanted in zip(ours.answer(ASKED), twin.answer(ASKED), strict=True):
        check_same_answer(got, wanted)
        assert (got.read is None) == (wanted.read is None)
        if name not in ALL_STAY:
            assert (upload_from == "all") == (got.tokens.num_tokens == NUM_TOKENS)


@pytest.mark.parametrize("name", CASES)
def test_doubt_and_token_scores_are_the_twins(pairs: tuple[Pair, Pair], name: str) -> None:
    twin, ours = both(pairs, name, "survivors")
    (answer,) = twin.answer(ASKED[:1])
    check_same_doubts(twin, ours, ASKED[0].text, answer)


def test_graphs_of_other_layers_are_refused(pairs: tuple[Pair, Pair]) -> None:
    exported = pairs[1].exported
    assert exported is not None
    fp32 = exported.precisions["fp32"]
    swapped = fp32.model_copy(update={"behind": (fp32.lm,)})
    changed = exported.model_copy(update={"precisions": {"fp32": swapped}})
    with pytest.raises(PairError, match=r"lm\.1.*export the pair again"):
        OnnxRuntime(replace(pairs[1], exported=changed), precision="fp32")


def test_a_clip_that_stands_still_keeps_its_first_tokens() -> None:
    """Rounding alone says what changed there, and must not choose."""
    grid = Grid(frames=3, rows=2, cols=3)
    values = np.random.default_rng(0).normal(size=(6, 9)).astype(np.float32)
    row = TokenRow(
        states=np.tile(values, (3, 1)),
        kind=np.full(18, int(Kind.VISUAL), dtype=np.int64),
        token=np.arange(18),
        positions=np.arange(18)[None],
        grid=grid,
        origin=np.arange(18),
    )
    method = EvsCompressor(EvsOptions(keep=0.6), some_facts(grid), {})
    assert method.on_embeds(row).token.tolist() == list(range(10))


def test_an_export_is_cut_for_the_compressor_that_it_is_made_for(
    pairs: tuple[Pair, Pair], tmp_path: Path
) -> None:
    choice = CompressorChoice(name="fastv", options={"layer": 1})
    export_pair(pairs[0], tmp_path / "cut", compressors=[choice], report=ignore)
    made = load_pair(tmp_path / "cut")
    assert made.exported is not None and made.exported.model.cuts == (1,)
    assert make_runtime(made, compressor=choice).answer(ASKED[:1])


def test_a_method_that_exports_do_not_run_is_named_with_those_that_they_do(
    pairs: tuple[Pair, Pair],
) -> None:
    other = min(METHODS.keys() - PORTABLE.keys())
    with pytest.raises(ConfigError, match=r'divprune.* runtime = "torch"'):
        make_runtime(pairs[1], compressor=CompressorChoice(name=other))
    with pytest.raises(ConfigError, match="known are"):
        make_runtime(pairs[1], compressor=CompressorChoice(name="divprune", options={"kep": 1}))
    with pytest.raises(ConfigError, match="did you mean 'divprune'"):
        make_runtime(pairs[1], compressor=CompressorChoice(name="divprunes"))


def test_a_cut_is_named_where_a_method_needs_one(pairs: tuple[Pair, Pair], tmp_path: Path) -> None:
    _, whole = make_tiny_export(tmp_path)
    with pytest.raises(ConfigError, match=r"export the pair again with --cut 1"):
        make_runtime(whole, compressor=CompressorChoice(name="fastv", options={"layer": 1}))
    values = {"compressor": "fastv", "compressor_options": {"layer": 1}}
    config = load_config(None, values, {})
    found = check_compressor(config, "onnx", whole)
    assert (found.verdict, "--cut 1" in found.found) == ("fail", True)
    assert check_compressor(config, "onnx", pairs[1]).verdict == "ok"
    with pytest.raises(ConfigError, match=r"has 2 layers, so it can be cut before layer 1"):
        export_pair(pairs[0], tmp_path / "other", cuts=[2])


def with_tower(pair: Pair, **changes: Any) -> Pair:
    """The pair, as if export.json said otherwise of its tower."""
    exported = pair.exported
    assert exported is not None and exported.tower is not None
    tower = exported.tower.model_copy(update=changes) if changes else None
    return replace(pair, exported=exported.model_copy(update={"tower": tower}))


@pytest.mark.parametrize(
    ("name", "options", "changes", "words"),
    [
        ("prumerge", {}, {"reads": None, "kind": "some_net"}, "some_net, .* attention and keys:"),
        ("visionzip", {}, {}, "export the pair again"),
        ("tome", {"where": "projector"}, {}, "export the pair again"),
        ("tome", {"where": "tower"}, {"reads": None}, 'where = "projector"'),
    ],
)
def test_a_tower_that_cannot_be_asked_is_named_at_the_start(
    pairs: tuple[Pair, Pair], name: str, options: Any, changes: Any, words: str
) -> None:
    pair = with_tower(pairs[1], **changes)
    with pytest.raises(ConfigError, match=words):
        make_runtime(pair, compressor=CompressorChoice(name=name, options=options))
    config = load_config(None, {"compressor": name, "compressor_options": options}, {})
    found = check_compressor(config, "onnx", pair)
    assert found.verdict == "fail" and re.search(words, found.found)


def test_a_tower_of_other_heads_than_export_json_says_is_refused(pairs: tuple[Pair, Pair]) -> None:
    tower = pairs[1].exported and pairs[1].exported.tower
    assert tower is not None
    pair = with_tower(pairs[1], heads=2 * tower.heads)
    choice = CompressorChoice(name="visionzip", options=CASES["visionzip"])
    with pytest.raises(PairError, match=r"head_attention of 2, export\.json says 4; export the"):
        OnnxRuntime(pair, precision="fp32", compressor=choice)


def test_a_tower_is_asked_for_no_more_than_a_method_reads(pairs: tuple[Pair, Pair]) -> None:
    plain = OnnxRuntime(pairs[1], precision="fp32")
    assert not plain._student.graphs.has("reads")
    choice = CompressorChoice(name="visionzip", options=CASES["visionzip"])
    ours = OnnxRuntime(pairs[1], precision="fp32", compressor=choice)
    first, again = (ours.answer(ASKED[:1])[0] for _ in range(2))
    (seen,) = [held for held, _ in ours._student.features._held.values()]
    assert seen.read.keys() == {"head_attention", "head_keys"}
    assert first.step_ids == again.step_ids
    with pytest.raises(ConfigError, match="stored tokens"):
        ours.answer_tokens([first.tokens], [ASKED[0].text])


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("name", ["prumerge", "visionzip"])
def test_a_rounded_tower_is_asked_itself(
    pairs: tuple[Pair, Pair], name: str, precision: str
) -> None:
    choice = CompressorChoice(name=name, options=CASES[name])
    ours = OnnxRuntime(pairs[1], precision=precision, compressor=choice, upload_from="survivors")
    twin = TorchRuntime(pairs[0], compressor=choice, upload_from="survivors")
    for got, wanted in zip(ours.answer(ASKED), twin.answer(ASKED), strict=True):
        assert got.tokens.num_tokens == wanted.tokens.num_tokens
        kept = np.intersect1d(got.tokens.positions, wanted.tokens.positions)
        assert len(kept) >= got.tokens.num_tokens // 2


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_a_cut_alone_changes_nothing(pairs: tuple[Pair, Pair], precision: str) -> None:
    runtime = OnnxRuntime(pairs[1], precision=precision)
    runtime.swap(trained(runtime.adapter(), seed=3, step=0.1), 1)
    answers = runtime.answer(ASKED)
    assert all(answer.step_ids and np.isfinite(answer.scores["entropy"]) for answer in answers)
    if precision == "fp32":
        twin = TorchRuntime(pairs[0])
        twin.swap(runtime.adapter(), 1)
        for got, wanted in zip(answers, twin.answer(ASKED), strict=True):
            assert got.step_ids == wanted.step_ids
            assert got.scores == pytest.approx(wanted.scores, abs=1e-3)
        for name in SCORERS:
            found, expected = (
                each.score_tokens(name, ASKED[0].text, answers[0], passes=2, seed=1)
                for each in (runtime, twin)
            )
            np.testing.assert_allclose(found, expected, rtol=1e-2, atol=5e-5, err_msg=name)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_rounded_graphs_answer_from_what_is_left(pairs: tuple[Pair, Pair], precision: str) -> None:
    choice = CompressorChoice(name="fastv", options=CASES["fastv"])
    runtime = OnnxRuntime(pairs[1], precision=precision, compressor=choice, upload_from="survivors")
    for answer in runtime.answer(ASKED):
        assert answer.tokens.num_tokens == NUM_TOKENS // 4
        assert answer.step_ids and np.isfinite(answer.scores["entropy"])


def test_no_method_of_exports_needs_torch() -> None:
    code = "import sys; sys.modules['torch'] = None\n"
    code += "import driftline_shared.models.compression.portable"
    subprocess.run([sys.executable, "-c", code], check=True)
