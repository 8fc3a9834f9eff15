"""The recipe of `tiny`, over a few pictures and steps, writes a pair that goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rich.console import Console

from driftline_lab.data import easyvqa
from driftline_lab.data.domains import DOMAINS
from driftline_lab.data.easyvqa import Part
from driftline_lab.recipes.stages import open_stages
from driftline_lab.recipes.tiny import build, export, views
from driftline_lab.recipes.tiny.language import load_checkpoint

FEW = {Part.TRAIN: 12, Part.CALIBRATION: 16, Part.STREAM: 4, Part.TEST: 4}


@pytest.fixture
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    def image_ids(part: Part) -> tuple[int, ...]:
        return easyvqa.image_ids(part)[: FEW[part]]

    for module in (build, export, views):
        monkeypatch.setattr(module, "image_ids", image_ids)


@pytest.mark.slow
@pytest.mark.usefixtures("few_pictures")
def test_a_trial_build_trains_its_teacher_in_two_stages(tmp_path: Path) -> None:
    out, work = tmp_path / "tiny", tmp_path / "work"
    threads, console = torch.get_num_threads(), Console(quiet=True)
    with open_stages(work, seed=0, share=1e-6, num_threads=threads, console=console) as stages:
        measured = build.build_tiny(out, stages)
    assert set(measured["teacher"][1.0]) == set(DOMAINS)
    first, second, shipped = (
        load_checkpoint(folder).state_dict()
        for folder in (work / build.DRIFTS_ONLY, work / build.BROAD, out / "teacher")
    )
    moved = {name for name in first if not torch.equal(first[name], second[name])}
    assert any("language_model" in name for name in moved)
    assert not any("vision_tower" in name for name in moved), "the tower is frozen"
    assert all(torch.equal(shipped[name], second[name].half().float()) for name in second)
    assert len(list((work / "tokens" / "train").glob("augmented-*"))) == len(build.AUGMENTED_DRAWS)
    assert "corruptions" in (out / "README.md").read_text(encoding="utf-8")

    written = (work / build.BROAD / "model.safetensors").stat().st_mtime_ns
    with open_stages(work, seed=0, share=1e-6, num_threads=threads, console=console) as stages:
        build.build_tiny(tmp_path / "again", stages)
    assert (work / build.BROAD / "model.safetensors").stat().st_mtime_ns == written
