"""`driftline models check`: what does not fit is said, with what to do about it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.release.choose import PLACE_BITS, VALUE_BITS, ChooseSettings
from driftline_device.config import load_config
from driftline_shared.errors import ConfigError
from driftline_shared.models.check import traffic
from driftline_shared.models.check.findings import parse_limit
from driftline_shared.models.check.memory import Workload
from driftline_shared.models.cli import app
from driftline_shared.pair.pair import load_pair
from driftline_shared.tokens import Grid, SamplingPolicy
from driftline_shared.wire.samples import dump_sample
from tests.fakes.pair_samples import make_samples
from tests.fakes.tiny_pair import save_llava


def check(folder: Path | str, *flags: str) -> tuple[int, dict]:
    result = CliRunner().invoke(app, ["check", str(folder), "--json", *flags])
    return result.exit_code, json.loads(result.output)


def found(report: dict, level: str) -> list[dict]:
    return [finding for finding in report["findings"] if finding["level"] == level]


def only(folder: Path, level: str, *flags: str) -> dict:
    """The one finding of that level; errors alone make the command fail."""
    code, report = check(folder, *flags)
    (finding,) = found(report, level)
    assert code == (level == "error")
    return finding


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "pair.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_whole_pair_has_no_errors_and_all_numbers(copy: Path) -> None:
    code, report = check(copy)
    assert code == 0
    assert report["whole"] is True
    assert found(report, "error") == []
    assert set(report["device_bytes"]) == {"float32", "bfloat16", "int8", "nf4"}


def test_another_tower_is_told_and_what_to_do(copy: Path) -> None:
    shutil.rmtree(copy / "teacher")
    save_llava(copy / "teacher", width=64, layers=3, tower_seed=1)
    error = only(copy, "error")
    assert "teacher's vision tower is not the student's" in error["what"]
    assert "fit-token-space" in error["fix"]
    assert "share a tower" in error["fix"]


def test_another_student_tower_is_told(copy: Path) -> None:
    shutil.rmtree(copy / "student")
    save_llava(copy / "student", width=32, layers=2, tower_seed=1)
    errors = found(check(copy)[1], "error")
    assert any("student's vision tower" in error["what"] for error in errors)


def test_another_tokenizer_is_told_and_how_distillation_goes_on(copy: Path) -> None:
    path = copy / "teacher" / "tokenizer.json"
    spec = json.loads(path.read_text())
    vocab = spec["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    path.write_text(json.dumps(spec))
    assert "distillation vocabulary: shared" in only(copy, "warning")["what"]
    edit(copy, "[adapter]", '[distillation]\nvocabulary = "same"\n[adapter]')
    error = only(copy, "error")
    assert "different vocabularies" in error["what"]
    assert "one tokenizer" in error["fix"]


def test_what_a_pair_names_for_its_distillation_is_told(copy: Path) -> None:
    edit(copy, "[adapter]", "[distillation]\nmax_steps = 77\na5 = 6.0\n[adapter]")
    _, report = check(copy)
    notes = [each["what"] for each in found(report, "note")]
    (told,) = [text for text in notes if text.startswith("distillation: ")]
    assert told.startswith("distillation: a5 6.0, max_steps 77;")


def test_a_pair_that_trains_fewer_weights_plans_smaller_updates(copy: Path) -> None:
    _, before = check(copy)
    edit(copy, "[adapter]", "[distillation]\ntrained_share = 0.02\n[adapter]")
    _, after = check(copy)
    assert before["update_bytes"]["share"] == traffic.LEAST_SHARE
    assert after["update_bytes"]["share"] == 0.02
    assert after["update_bytes"]["expected"] < before["update_bytes"]["expected"]


@pytest.mark.parametrize(
    "line, wrong, nearest",
    [
        ('query_targets = ["linear_one"]', "linear_one", "linear_1"),
        ('language_targets = ["q_proj", "gate_prj"]', "gate_prj", "gate_proj"),
    ],
)
def test_a_missing_adapter_target_is_told_with_the_nearest(
    copy: Path, line: str, wrong: str, nearest: str
) -> None:
    edit(copy, "[adapter]", f"[adapter]\n{line}")
    error = only(copy, "error")
    assert repr(wrong) in error["what"]
    assert nearest in error["fix"]


def test_too_little_memory_is_told_with_the_setting_that_fits(copy: Path) -> None:
    edit(copy, '"nf4"', '"none"')
    _, report = check(copy)
    plans = {p: sum(items.values()) for p, items in report["device_bytes"].items()}
    between = (plans["nf4"] + plans["float32"]) // 2
    error = only(copy, "error", "--device-memory", str(between))
    assert "the device needs about" in error["what"]
    assert 'quantization = "nf4"' in error["fix"]
    error = only(copy, "error", "--cloud-memory", "1MB")
    assert "the cloud needs about" in error["what"]
    assert "smaller checkpoints" in error["fix"]


def test_this_machines_memory_only_warns(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftline_shared.models.check.findings.machine_memory", lambda: 1_000)
    code, report = check(copy)
    assert code == 0
    assert len([w for w in found(report, "warning") if "of memory" in w["what"]]) == 2


@pytest.mark.parametrize(
    "damage, told, fix",
    [
        (lambda d: (d / "gate.safetensors").unlink(), "gate", "device calibrate"),
        (lambda d: (d / "source.jsonl").unlink(), "source.jsonl", "fit-token-space"),
        (lambda d: shutil.rmtree(d / "probe"), "probe", "probe.jsonl"),
        (lambda d: (d / "token_space.safetensors").unlink(), "token_space", "fit-token-space"),
        (lambda d: shutil.rmtree(d / "teacher"), "teacher", "[teacher]"),
        (lambda d: edit(d, "rows = 4", "rows = 2"), "lays tokens out", "fit-token-space"),
        (lambda d: edit(d, "<image>{question}", "{question}"), "<image> once", "chat template"),
    ],
)
def test_what_is_missing_is_told_with_the_command_that_makes_it(
    copy: Path, damage, told: str, fix: str
) -> None:
    damage(copy)
    code, report = check(copy)
    assert code == 1
    assert any(told in e["what"] and fix in e["fix"] for e in found(report, "error")), report


def test_the_plan_uses_the_numbers_of_the_settings() -> None:
    work, distil, choose = Workload(), DistilSettings(), ChooseSettings()
    assert work.device_batch == load_config(None, {}, {}).batch_size
    assert work.label_batch == distil.label_batch_size
    assert work.train_batch == distil.batch_size
    assert work.memory_batch == distil.memory_batch_size
    assert work.cache_bytes == distil.cache_bytes
    assert work.token_share == SamplingPolicy().token_share
    assert choose.least_share == traffic.LEAST_SHARE
    assert choose.max_fp16_share == traffic.MAX_FP16_SHARE
    assert (PLACE_BITS, VALUE_BITS) == (traffic.PLACE_BITS, traffic.VALUE_BITS)


def test_a_sample_is_at_most_as_large_as_expected(pair_dir: Path) -> None:
    pair = load_pair(pair_dir)
    grid = pair.token_space.grid
    expected = traffic.sample_bytes(grid, pair.token_space.width, SamplingPolicy())
    (sample,) = make_samples(pair, 1, kept=expected.kept)
    assert len(sample.tokens.payload) <= expected.payload
    envelope = len(dump_sample(sample)) - len(sample.tokens.payload)
    assert abs(envelope - expected.envelope) < 100


def test_wide_tokens_are_cut_to_what_a_sample_holds() -> None:
    wide = traffic.sample_bytes(Grid(rows=16, cols=17), 12_288, SamplingPolicy())
    assert wide.wanted == 136
    assert wide.kept == 85
    assert wide.payload <= 1 << 20


@pytest.mark.parametrize(
    "text, num_bytes",
    [("8GB", 8 * 10**9), ("1.5 GiB", 3 << 29), ("512M", 512 * 10**6), ("100", 100)],
)
def test_memory_sizes_are_read(text: str, num_bytes: int) -> None:
    assert parse_limit(text).num_bytes == num_bytes


@pytest.mark.parametrize("text", ["much", "-3GB", "8PB", ""])
def test_what_is_no_memory_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="memory size"):
        parse_limit(text)
