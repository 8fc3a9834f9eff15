"""Runs are made once; what they depend on is their name, and a broken file is made anew."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

import pytest

from driftline_cloud.distill.student import Models
from driftline_lab.baselines.table import BASELINES
from driftline_lab.experiments.lab import Lab
from driftline_lab.replay.cache.store import ResultStore
from tests.fakes.material import random_plan

PLAIN = BASELINES["source-only"]


@pytest.mark.parametrize("name", ["gate.safetensors", "source.safetensors", "source.jsonl"])
def test_a_run_of_another_set_has_another_key(
    loaded: Models, store: ResultStore, tmp_path: Path, name: str
) -> None:
    pair = shutil.copytree(loaded.pair.dir, tmp_path / "pair")
    plan = random_plan(pair=str(pair))
    key = Lab(tmp_path, store).key(plan, PLAIN)
    assert Lab(tmp_path, store).key(plan, PLAIN) == key
    (pair / name).write_bytes((pair / name).read_bytes() + b" ")
    assert Lab(tmp_path, store).key(plan, PLAIN) != key


def test_a_run_of_another_torch_has_another_key(
    loaded: Models, store: ResultStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = random_plan(pair=str(loaded.pair.dir))
    keys = {Lab(tmp_path, store).key(plan, PLAIN)}
    real = metadata.version
    for package in ("torch", "transformers", "numpy"):
        monkeypatch.setattr(
            metadata, "version", lambda each, odd=package: "0" if each == odd else real(each)
        )
        keys.add(Lab(tmp_path, store).key(plan, PLAIN))
    assert len(keys) == 4


def test_a_broken_run_is_named_once_and_made_anew(
    loaded: Models, store: ResultStore, tmp_path: Path
) -> None:
    plans = [
        random_plan(pair=str(loaded.pair.dir), segments=("source", "night"), seed=seed)
        for seed in (0, 1)
    ]
    first = Lab(tmp_path, store, load=lambda _: loaded)
    made = [first.run(plan, PLAIN) for plan in plans]
    one, other = (tmp_path / "runs" / f"{first.key(plan, PLAIN)}.json" for plan in plans)
    # Each has the other's name; then one of them is cut short.
    texts = one.read_bytes(), other.read_bytes()
    one.write_bytes(texts[1])
    other.write_bytes(texts[0][:100])
    said: list[str] = []
    lab = Lab(tmp_path, store, load=lambda _: loaded, report=said.append)
    assert not lab.has(plans[0], PLAIN) and not lab.has(plans[1], PLAIN)
    again = [lab.run(plan, PLAIN) for plan in plans]
    assert [each.rows for each in again] == [each.rows for each in made]
    assert lab.num_made == 2 and lab.has(plans[0], PLAIN) and lab.has(plans[1], PLAIN)
    doubts = [line for line in said if "does not count" in line]
    assert [str(path) in line for path, line in zip((one, other), doubts, strict=True)] == [
        True
    ] * 2
