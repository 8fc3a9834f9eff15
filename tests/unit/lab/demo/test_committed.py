"""A demo says where it lies among the committed seeds, where it can be compared with them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from driftline_lab.demo.committed import beside_committed
from driftline_lab.demo.options import DemoOptions
from driftline_lab.demo.report import Accuracy, DemoReport, Downlink, Uplink


@pytest.fixture
def results(tmp_path: Path) -> Path:
    documents = [
        {
            "seed": seed,
            "accuracy": {
                "source": {"before": 1.0, "after": 1.0, "teacher": 1.0},
                "night": {"before": 0.5, "after": 0.5 + after, "teacher": 1.0},
            },
        }
        for seed, after in enumerate((0.25, 0.3, 0.35))
    ]
    (tmp_path / "loop.json").write_text(json.dumps({"result": {"documents": documents}}))
    return tmp_path


def report(after: float) -> DemoReport:
    return DemoReport(
        pair="tiny",
        device={},
        world="easyvqa",
        seed=0,
        seconds=1.0,
        rounds=0,
        accuracy={
            "source": Accuracy(before=1.0, after=1.0, teacher=1.0),
            "night": Accuracy(before=0.5, after=after, teacher=1.0),
        },
        uplink=Uplink(
            seen=1,
            sent=1,
            bytes_per_sample=1.0,
            jpeg90_bytes_per_sample=1.0,
            fp16_tokens_bytes_per_sample=1.0,
        ),
        downlink=Downlink(
            updates=0,
            bytes_per_update=0.0,
            fp16_adapter_bytes=0,
            fp16_model_bytes=0,
            apply_pause_ms=0.0,
        ),
    )


# The shares of the three seeds are 50, 60 and 70 %: t(0.975, 2) 10 / sqrt(3) = 25.
@pytest.mark.parametrize(
    ("after", "seed", "words"),
    [
        (0.8, 7, "recovered 60 %, within the 95 % interval, 35 to 85 %, of 3 seeds (worst 50 %)"),
        (0.6, 0, "recovered 20 %, below the 95 % interval"),
        (0.95, 1, "recovered 90 %, above the 95 % interval"),
        (0.8, 1, "(worst 50 %; seed 1 there: 60 %)"),
    ],
)
def test_a_default_run_says_where_it_lies(
    results: Path, tmp_path: Path, after: float, seed: int, words: str
) -> None:
    options = DemoOptions(seed=seed, state=tmp_path)
    (sentence,) = beside_committed(report(after), options, results)
    assert sentence.startswith("night: ")
    assert words in sentence


def test_of_one_committed_seed_there_is_no_interval(results: Path, tmp_path: Path) -> None:
    file = results / "loop.json"
    found = json.loads(file.read_text())
    del found["result"]["documents"][1:]
    file.write_text(json.dumps(found))
    said = beside_committed(report(0.8), DemoOptions(state=tmp_path), results)
    assert said == ["night: recovered 60 %; seed 0 there: 50 %"]


@pytest.mark.parametrize(
    "changes",
    [
        {"questions": 600},
        {"segments": ("source", "night")},
        {"cloud_settings": ("distil.threads=1",)},
        {"device_settings": ("runtime=onnx",)},
        {"pair": "boards"},
    ],
)
def test_another_run_is_not_compared(
    results: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    options = replace(DemoOptions(state=tmp_path), **changes)
    assert not beside_committed(report(0.8), options, results)


def test_where_nothing_is_committed_nothing_is_said(tmp_path: Path) -> None:
    assert not beside_committed(report(0.8), DemoOptions(state=tmp_path), tmp_path)
