"""The torch runtime behind a compressor: what it answers, what it lets leave, what it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from driftline_device.config import load_config
from driftline_device.doctor.machine import check_compressor
from driftline_device.program.assembly import runtime_for
from driftline_device.runtime.factory import make_runtime
from driftline_device.runtime.runtime import Answer, Question, UploadFrom
from driftline_device.runtime.scores import SCORERS
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_device.sampling.calibration import calibrate
from driftline_device.sampling.sampler import Sampler
from driftline_shared.codec.tokens import decode_tokens
from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressed_model import facts_of
from driftline_shared.models.compression.loading import weights_file
from driftline_shared.models.compression.table import METHODS, checked
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.loading import load_student
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.program.compressor import CompressorChoice
from driftline_shared.tokens import SamplingPolicy, VisualTokens
from tests.fakes.clock import FakeClock
from tests.fakes.tiny_pair import NUM_TOKENS, QUESTIONS, make_tiny_pair, random_image

ASKED = [Question(image=random_image(seed), text=QUESTIONS[seed % 3]) for seed in range(6)]

FOR_IMAGES = [name for name, method in sorted(METHODS.items()) if method.images]

HALVES: dict[str, dict[str, Any]] = {
    "fastv": {"keep": 0.5, "layer": 1},
    "prumerge": {"keep": 0.5},
    "sparsevlm": {"keep": 0.5, "layers": (0,)},
    "tome": {"keep": 0.5},
    "vidcom2": {"keep": 0.5},
    "vtw": {"keep": 0.5, "layer": 1},
}
"""Methods that need no training, at about half of the tokens of two layers."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """With weights for every trained method beside the student, as freshly drawn."""
    folder = make_tiny_pair(tmp_path_factory.mktemp("pair"))
    student = load_student(load_pair(folder))
    assert isinstance(student, FamilyModel)
    for name, method in METHODS.items():
        if method.trained:
            kind = method.compressor
            drawn = kind.fresh_weights(checked(name, {}), facts_of(student), seed=0)
            save_file(drawn, weights_file(folder / "student", name))
    return load_pair(folder)


@pytest.fixture(scope="module")
def plain(pair: Pair) -> TorchRuntime:
    return TorchRuntime(pair)


@pytest.fixture(scope="module")
def said(plain: TorchRuntime) -> list[Answer]:
    return plain.answer(ASKED)


def compressing(
    pair: Pair, name: str, options: Mapping[str, Any], upload_from: UploadFrom = "all"
) -> TorchRuntime:
    choice = CompressorChoice(name=name, options=options)
    return TorchRuntime(pair, compressor=choice, upload_from=upload_from)


def same_tokens(found: VisualTokens, expected: VisualTokens) -> None:
    np.testing.assert_array_equal(found.positions, expected.positions)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-5)


@pytest.mark.parametrize("name", FOR_IMAGES)
def test_keeping_everything_answers_as_without(pair: Pair, said: list[Answer], name: str) -> None:
    whole = compressing(pair, name, {"keep": 1.0}, "survivors")
    for found, expected in zip(whole.answer(ASKED), said, strict=True):
        assert found.step_ids == expected.step_ids
        assert found.text == expected.text
        assert found.num_prompt_tokens == expected.num_prompt_tokens
        assert found.scores == pytest.approx(expected.scores, abs=1e-4)
        same_tokens(found.tokens, expected.tokens)


@pytest.mark.parametrize("name", HALVES)
def test_all_tokens_may_leave_whatever_was_dropped(
    pair: Pair, said: list[Answer], name: str
) -> None:
    answers = compressing(pair, name, HALVES[name]).answer(ASKED)
    for found, expected in zip(answers, said, strict=True):
        same_tokens(found.tokens, expected.tokens)
    scores = [answer.scores["entropy"] for answer in answers]
    assert scores != pytest.approx([answer.scores["entropy"] for answer in said], abs=1e-6)


@pytest.mark.parametrize("name", HALVES)
def test_survivors_are_fewer_and_at_their_places(pair: Pair, said: list[Answer], name: str) -> None:
    answers = compressing(pair, name, HALVES[name], "survivors").answer(ASKED)
    for found, whole in zip(answers, said, strict=True):
        kept = found.tokens
        assert 0 < kept.num_tokens <= NUM_TOKENS
        assert (np.diff(kept.positions) > 0).all()
        assert found.tokens.grid == whole.tokens.grid
        if name != "vtw":  # before its layer it holds all
            assert kept.num_tokens < NUM_TOKENS
        if name not in ("tome", "prumerge"):  # these merge tokens of the tower
            same_tokens(kept, whole.tokens.keep(kept.positions))
            assert found.read is None or found.read.num_tokens == NUM_TOKENS


def test_fewer_tokens_are_read_where_they_go_before_the_layers(
    pair: Pair, said: list[Answer]
) -> None:
    for name, gone in (("vidcom2", NUM_TOKENS // 2), ("tome", NUM_TOKENS // 2), ("fastv", 0)):
        answers = compressing(pair, name, HALVES[name]).answer(ASKED)
        for found, whole in zip(answers, said, strict=True):
            assert found.num_prompt_tokens == whole.num_prompt_tokens - gone


@pytest.mark.parametrize("name", ["fastv", "tome"])
@pytest.mark.parametrize("upload_from", ["all", "survivors"])
def test_doubt_is_that_of_the_model_that_answers(
    pair: Pair, name: str, upload_from: UploadFrom
) -> None:
    runtime = compressing(pair, name, HALVES[name], upload_from)
    (answer,) = runtime.answer(ASKED[:1])
    question = ASKED[0].text
    doubt = runtime.mutual_information(question, answer, passes=4, seed=3)
    assert 0.0 < doubt <= 1.0
    assert doubt == runtime.mutual_information(question, answer, passes=4, seed=3)
    # It starts from what was read, so what may be sent makes no difference.
    other = compressing(
        pair, name, HALVES[name], "all" if upload_from == "survivors" else "survivors"
    )
    (again,) = other.answer(ASKED[:1])
    assert other.mutual_information(question, again, passes=4, seed=3) == doubt
    for scorer in SCORERS:
        scores = runtime.score_tokens(scorer, question, answer, passes=4, seed=3)
        assert scores.shape == (answer.tokens.num_tokens,)
        assert np.isfinite(scores).all() and (scores >= 0).all()


@pytest.mark.parametrize(
    ("name", "scorer"),
    [
        ("fastv", "mc_dropout"),
        ("fastv", "answer_attribution"),
        ("sparsevlm", "magnitude"),
        ("prumerge", "answer_attribution"),
        ("tome", "mc_dropout"),
    ],
)
def test_every_uploaded_token_is_a_survivor_at_its_place(
    pair: Pair, name: str, scorer: str
) -> None:
    runtime = compressing(pair, name, HALVES[name], "survivors")
    numbers = iter(range(1, 100))
    sampler = Sampler(
        space=pair.token_space,
        calibration=pair.gate,
        policy=SamplingPolicy(
            gate_quantile=0.0, max_sample_share=1.0, token_scorer=scorer, token_share=0.5
        ),
        rng=np.random.default_rng(0),
        new_id=lambda: next(numbers).to_bytes(16, "big"),
        clock=FakeClock(),
    )
    num_sent = 0
    for question, answer in zip(ASKED, runtime.answer(ASKED), strict=True):
        survivors = _survivors_of(runtime, question)
        np.testing.assert_array_equal(answer.tokens.positions, survivors)
        sample = sampler.consider(question.text, answer, runtime)
        if sample is None:
            continue
        num_sent += 1
        tokens = decode_tokens(sample.sample.tokens, pair.token_space)
        assert tokens.num_tokens == max(1, round(len(survivors) / 2))
        assert set(tokens.positions.tolist()) <= set(survivors.tolist())
        # What arrives at a position is what stands there, up to coding in 8 bits.
        step = (pair.token_space.high - pair.token_space.low) / 255
        expected = answer.tokens.keep(tokens.positions).values
        inside = np.clip(expected, pair.token_space.low, pair.token_space.high)
        assert (np.abs(tokens.values - inside) <= step + 1e-4).all()
    assert num_sent >= 3


def _survivors_of(runtime: TorchRuntime, question: Question) -> NDArray[np.int64]:
    """As the model itself reports them, without the runtime."""
    model = runtime._student.compressed
    assert model is not None
    with torch.no_grad():
        looked = model.look([question.image], [question.text])
        return model.compressed_generate(looked.batch, 1).rows[0].survivors


def test_a_batch_answers_as_one_by_one_where_pictures_keep_different_numbers(pair: Pair) -> None:
    runtime = compressing(pair, "prumerge", {"adaptive": True}, "survivors")
    together = runtime.answer(ASKED)
    blocks = TorchRuntime(
        pair,
        compressor=CompressorChoice(name="prumerge", options={"adaptive": True}),
        upload_from="survivors",
        max_batch=1,
    ).answer(ASKED)
    assert [one.step_ids for one in together] == [one.step_ids for one in blocks]
    for one, other in zip(together, blocks, strict=True):
        same_tokens(one.tokens, other.tokens)


def test_a_pair_is_calibrated_under_its_compressor(pair: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "pair"
    shutil.copytree(pair.dir, folder)
    copy = load_pair(folder)
    calibrate(copy, compressing(copy, "fastv", {"keep": 0.25, "layer": 1}), lambda *_: None)
    dropped = load_pair(folder).gate
    calibrate(copy, TorchRuntime(copy), lambda *_: None)
    assert not np.array_equal(dropped["entropy"], load_pair(folder).gate["entropy"])
    with pytest.raises(ConfigError, match="stored tokens"):
        calibrate(copy, compressing(copy, "tome", {}), lambda *_: None)


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("sieve", {}, "known are"),
        ("fastv", {"kep": 0.5}, "known are"),
        ("fastv", {"keep": 0.0}, "keep"),
        ("voco", {}, "driftline lab train-compressor voco"),
    ],
)
def test_a_wrong_compressor_ends_the_start(
    pair: Pair, tmp_path: Path, name: str, options: dict[str, Any], word: str
) -> None:
    folder = tmp_path / "pair"
    shutil.copytree(pair.dir, folder, ignore=shutil.ignore_patterns("compressor.*"))
    values = {"compressor": name, "compressor_options": options, "pair": str(folder)}
    with pytest.raises(ConfigError, match=word):
        runtime_for(load_config(None, values, {}), load_pair(folder))


def test_settings_of_a_file_and_of_the_environment_reach_the_method(
    pair: Pair, tmp_path: Path
) -> None:
    file = tmp_path / "device.toml"
    file.write_text('compressor = "fastv"\n[compressor_options]\nlayer = 1\n')
    environment = {
        "DRIFTLINE_DEVICE_COMPRESSOR_OPTIONS__KEEP": "0.25",
        "DRIFTLINE_DEVICE_UPLOAD_FROM": "survivors",
    }
    config = load_config(file, {}, {})
    assert config.compressor_choice == CompressorChoice(name="fastv", options={"layer": 1})
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        config = load_config(file)
    (answer,) = runtime_for(config, pair).answer(ASKED[:1])
    assert answer.tokens.num_tokens == NUM_TOKENS // 4


def test_options_without_a_method_are_told(pair: Pair) -> None:
    config = load_config(None, {"compressor_options": {"keep": 0.25}}, {})
    with structlog.testing.capture_logs() as logs:
        runtime_for(config, pair)
    [told] = [log for log in logs if log["event"] == "compressor.options_without_one"]
    assert told["options"] == ["keep"]


def test_a_method_for_clips_says_so_on_images(pair: Pair) -> None:
    with structlog.testing.capture_logs() as logs:
        make_runtime(pair, compressor=CompressorChoice(name="vidcom2"))
        make_runtime(pair, compressor=CompressorChoice(name="fastv"))
    told = [log for log in logs if log["event"] == "compressor.not_made_for_this"]
    assert [(log["compressor"], log["reads"]) for log in told] == [("vidcom2", "images")]


@pytest.mark.parametrize(
    ("values", "runtime", "verdict", "word"),
    [
        ({"compressor": "fastv"}, "torch", "ok", "fastv"),
        ({"compressor": "divprune"}, "onnx", "ok", "divprune"),
        ({"compressor": "voco"}, "onnx", "fail", 'runtime = "torch"'),
        ({"compressor": "divprune", "compressor_options": {"kep": 1}}, "onnx", "fail", "kep"),
        ({"compressor": "sieve"}, "torch", "fail", "known are"),
        ({"compressor": "vtw", "compressor_options": {"lair": 1}}, "torch", "fail", "lair"),
    ],
)
def test_the_doctor_finds_a_wrong_compressor(
    values: dict[str, object], runtime: str, verdict: str, word: str
) -> None:
    check = check_compressor(load_config(None, values, {}), runtime, None)
    assert (check.name, check.verdict) == ("compressor", verdict)
    assert word in check.found


def test_the_doctor_finds_a_method_that_reads_more_of_the_tower_than_a_family_gives(
    pair: Pair, tmp_path: Path
) -> None:
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "config.json").write_text('{"model_type": "qwen3_vl"}')
    other = replace(pair, student=replace(pair.student, pair_dir=tmp_path))
    config = load_config(None, {"compressor": "prumerge"}, {})
    found = check_compressor(config, "torch", other)
    assert found.verdict == "fail"
    assert (
        "Prumerge reads attention, keys of the tower, and models of family qwen3_vl" in found.found
    )
    assert check_compressor(config, "torch", pair).verdict == "ok"
