"""The recipe of `smol` from start to end, on a trial's few steps; tokens are random stand-ins."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from driftline_lab.data.openmoji.concepts import concepts
from driftline_lab.data.openmoji.views import STYLES, Use
from driftline_lab.recipes.smol.build import build_smol
from driftline_lab.recipes.stages import open_stages
from driftline_shared.assembly.checkpoint import read_trained
from driftline_shared.models.fit.fitting import fit_stored
from driftline_shared.pair.pair import load_draft, load_pair

pytestmark = pytest.mark.system


def prepared(work: Path) -> Path:
    """Work folder with the stages done that take minutes: drawing, encoding, choosing layers."""
    rng = np.random.default_rng(0)
    codes = np.array([int(concept.code, 16) for concept in concepts()], dtype=np.int64)
    (work / "tokens").mkdir(parents=True)
    for style in STYLES:
        for use in (Use.TRAIN, Use.TEST):
            tokens = rng.standard_normal((len(codes), 1, 49, 432)).astype(np.float16)
            path = work / "tokens" / f"{style}-{use}.safetensors"
            save_file({"codes": codes, "tokens": tokens}, path)
    (work / "layers.json").write_text(json.dumps([0, 29]))
    return work


@pytest.mark.timeout(900)
def test_a_trial_leaves_a_whole_pair_and_a_second_one_redoes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    work, out = prepared(tmp_path / "work"), tmp_path / "smol"
    with open_stages(work, seed=0, share=0.001, num_threads=1) as stages:
        measured = build_smol(out, stages)
    assert set(measured) == {"teacher", "student"}
    assert {style for by_style in measured["student"].values() for style in by_style} == set(STYLES)
    assert read_trained(out / "student.safetensors").layers == (0, 29)
    assert len(read_trained(out / "teacher.safetensors").layers) == 30
    assert "CC BY-SA 4.0" in (out / "README.md").read_text()
    fitted = fit_stored(load_draft(out))
    assert load_pair(out).token_space.digest == fitted.digest

    files = [path for path in work.iterdir() if path.suffix == ".safetensors"]
    before = {path.name: path.stat().st_mtime_ns for path in files}
    assert set(before) == {
        f"{stage}.safetensors" for stage in ("student-own", "teacher", "student")
    }
    with open_stages(work, seed=0, share=0.001, num_threads=1) as stages:
        build_smol(tmp_path / "again", stages)
    assert {path.name: path.stat().st_mtime_ns for path in files} == before
    for name in ("teacher.safetensors", "student.safetensors", "source.safetensors"):
        first, second = load_file(out / name), load_file(tmp_path / "again" / name)
        assert first.keys() == second.keys()
        assert all(np.array_equal(first[key], second[key]) for key in first)
