"""The demo's document has the promised shape, and its numbers follow their definitions."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from driftline_lab.data.openmoji.captions import CaptionScores
from driftline_lab.demo.report import (
    Accuracy,
    Captions,
    DemoReport,
    Downlink,
    Uplink,
    caption_table,
    sentences,
    table,
)
from driftline_lab.runs.run import RunUpdate


def report(**accuracy: Accuracy) -> DemoReport:
    return DemoReport(
        pair="tiny",
        device={"runtime": "onnx", "precision": "int8", "compressor": ""},
        world="easyvqa",
        seed=0,
        seconds=100.0,
        rounds=4,
        accuracy=accuracy,
        uplink=Uplink(
            seen=1000,
            sent=300,
            bytes_per_sample=4200.0,
            jpeg90_bytes_per_sample=1500.0,
            fp16_tokens_bytes_per_sample=16384.0,
        ),
        downlink=Downlink(
            updates=4,
            bytes_per_update=9000.0,
            fp16_adapter_bytes=175_360,
            fp16_model_bytes=3_000_000,
            apply_pause_ms=2.5,
        ),
    )


@pytest.mark.parametrize(("before", "recovered"), [(0.6, 2 / 3), (0.9, None)])
def test_recovered_is_gain_over_gap_where_there_is_one(
    before: float, recovered: float | None
) -> None:
    found = Accuracy(before=before, after=0.8, teacher=0.9).recovered
    assert found == (recovered and pytest.approx(recovered))


def test_the_document_has_the_promised_keys() -> None:
    document = json.loads(
        json.dumps(report(source=Accuracy(before=0.9, after=0.9, teacher=1.0)).document())
    )
    assert document.keys() == {
        "pair", "device", "world", "seed", "seconds", "rounds", "accuracy", "captions", "uplink",
            "downlink", "rounds_made", "updates_made",
    }  # fmt: skip
    assert document["accuracy"]["source"].keys() == {"before", "after", "teacher"}
    assert document["uplink"].keys() == {
        "seen", "sent", "bytes_per_sample", "jpeg90_bytes_per_sample",
        "fp16_tokens_bytes_per_sample",
    }  # fmt: skip
    assert document["downlink"].keys() == {
        "updates", "bytes_per_update", "fp16_adapter_bytes", "fp16_model_bytes", "apply_pause_ms",
    }  # fmt: skip


def test_people_see_the_table_and_are_told_when_a_jpeg_would_be_smaller() -> None:
    found = report(night=Accuracy(before=0.5, after=0.9, teacher=0.9))
    console = Console(file=io.StringIO(), width=100)
    console.print(table(found))
    assert "100 %" in console.file.getvalue()  # type: ignore[attr-defined]
    assert any("JPEG would be smaller" in sentence for sentence in sentences(found))


def test_people_are_told_of_a_version_that_the_device_did_not_keep() -> None:
    kept = RunUpdate(version=1, digest="", bytes=9, at=3)
    left = RunUpdate(version=2, digest="", bytes=9, refused="probe_disagrees: agrees on 0.9")
    found = sentences(replace(report(), updates_made=(kept, left)))
    (note,) = [line for line in found if "did not keep" in line]
    assert "version 2" in note and "probe_disagrees" in note


def test_captions_are_shown_by_domain_and_written_whole() -> None:
    def scores(name_match: float) -> CaptionScores:
        return CaptionScores(
            num_captions=40, cider=3.21, cider_best=5.5, bleu=(0.9, 0.8, 0.7), name_match=name_match
        )

    row = Captions(before=scores(0.25), after=scores(0.5), teacher=scores(0.75))
    found = replace(report(), captions={"lineart-unseen": row})
    console = Console(file=io.StringIO(), width=80)
    console.print(caption_table(found))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "lineart-unseen" in shown
    assert "25/50/75" in shown
    assert "80/80/80" in shown, "BLEU-2"
    document = json.loads(json.dumps(found.document()))["captions"]["lineart-unseen"]
    assert document.keys() == {"before", "after", "teacher"}
    assert document["after"] == {
        "num_captions": 40, "cider": 3.21, "cider_best": 5.5, "bleu": [0.9, 0.8, 0.7],
        "name_match": 0.5,
    }  # fmt: skip


def test_one_of_a_thing_is_not_told_as_many() -> None:
    found = replace(report(), rounds=1, downlink=replace(report().downlink, updates=1))
    said = " ".join(sentences(found))
    assert "1 update of" in said and said.count("1 round") == 1 and "1 rounds" not in said
