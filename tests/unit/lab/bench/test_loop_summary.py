"""What the demos of several seeds say together."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from driftline_lab.bench.cli import app
from driftline_lab.bench.loop import read_documents, run_loop
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.pair.pair import load_draft


def _document(seed: int, after: float) -> dict[str, Any]:
    accuracy = {
        "source": {"before": 1.0, "after": 0.99, "teacher": 1.0},
        "lineart": {"before": 0.5, "after": after, "teacher": 0.9},
    }
    uplink = {"seen": 100, "sent": 25, "bytes_per_sample": 10.0, "fp16_tokens_bytes_per_sample": 40}
    downlink = {"bytes_per_update": 5.0, "fp16_adapter_bytes": 100, "apply_pause_ms": 0.1}
    return {
        "pair": "smol",
        "world": "openmoji",
        "seed": seed,
        "seconds": 60.0,
        "accuracy": accuracy,
        "uplink": uplink,
        "downlink": downlink,
    }


def test_documents_of_earlier_demos_are_summarised(tmp_path: Path) -> None:
    files = []
    for seed, after in ((0, 0.7), (1, 0.8)):
        files.append(tmp_path / f"{seed}.json")
        files[-1].write_text(json.dumps(_document(seed, after)))
    found = read_documents(files)
    assert found["pair"] == "smol"
    assert found["seeds"] == [0, 1]
    assert found["recovered"]["mean"] == pytest.approx((0.5 + 0.75) / 2)
    assert found["recovered_by_domain"]["lineart"]["min"] == pytest.approx(0.5)
    assert found["uplink_share"]["mean"] == pytest.approx(0.25)


def test_results_are_put_together_with_what_they_say_of_their_machine(tmp_path: Path) -> None:
    document, result = tmp_path / "1.json", tmp_path / "0.json"
    document.write_text(json.dumps(_document(1, 0.8)))
    result.write_text(
        json.dumps({"conditions": {"cores": 7}, "result": {"documents": [_document(0, 0.7)]}})
    )
    words = ["loop", "--document", str(result), "--document", str(document)]
    found = json.loads(CliRunner().invoke(app, words).stdout)
    assert found["result"]["seeds"] == [0, 1]
    assert found["conditions"] == {"cores": 7}


@pytest.mark.parametrize("text", ["not json", "{}", "[]", "[1]", '{"result": {"documents": 3}}'])
def test_what_is_no_document_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(DataError, match="document"):
        read_documents([file])


def test_a_document_that_counts_nothing_is_refused(tmp_path: Path) -> None:
    document = _document(0, 0.7)
    document["uplink"]["seen"] = 0
    (tmp_path / "a").write_text(json.dumps(document))
    with pytest.raises(DataError, match="none that a demo measures"):
        read_documents([tmp_path / "a"])


def test_documents_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    other = _document(1, 0.7) | {"pair": "tiny"}
    alone = _document(2, 0.7)
    del alone["accuracy"]["lineart"]
    for name, document in (("a", _document(0, 0.7)), ("b", other), ("c", alone)):
        (tmp_path / name).write_text(json.dumps(document))
    (tmp_path / "d").write_text(json.dumps(_document(3, 0.7) | {"device": {"runtime": "onnx"}}))
    more = _document(5, 0.7)
    more["accuracy"]["photo"] = more["accuracy"]["lineart"]
    (tmp_path / "f").write_text(json.dumps(more))
    for names in ("aa", "ab", "ad", "af", "fa"):
        with pytest.raises(DataError, match="one pair and world"):
            read_documents([tmp_path / name for name in names])
    with pytest.raises(DataError, match="nothing drifts there"):
        read_documents([tmp_path / "c"])


def test_what_cannot_end_well_is_said_before_any_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a demo was begun"))
    with pytest.raises(ConfigError, match="names no drift"):
        run_loop([0], segments="source", work=tmp_path)
    digest = hashlib.sha256(load_draft("tiny").file.read_bytes()).hexdigest()[:8]
    (tmp_path / f"tiny-{digest}-1.json").write_text("broken")
    with pytest.raises(DataError, match="is no document"):
        run_loop([0, 1], work=tmp_path)


def test_a_seed_that_is_finished_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(load_draft("tiny").file.read_bytes()).hexdigest()[:8]
    (tmp_path / f"tiny-source-night-{digest}-0.json").write_text(json.dumps(_document(0, 0.7)))
    started = []

    def demo(words: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        started.append(words)
        Path(words[words.index("--json") + 1]).write_text(json.dumps(_document(1, 0.8)))
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(subprocess, "run", demo)
    found = run_loop([0, 1], segments="source,night", work=tmp_path)
    assert found["seeds"] == [0, 1]
    (words,) = started
    named = ["--seed", "1", "--pair", "tiny", "--segments", "source,night"]
    assert words[-8:] == [*named, "--json", str(tmp_path / f"tiny-source-night-{digest}-1.json")]
    run_loop([1], device=["runtime=onnx"], work=tmp_path)
    named = ["--seed", "1", "--pair", "tiny", "--set-device", "runtime=onnx"]
    assert started[1][-8:] == [
        *named,
        "--json",
        str(tmp_path / f"tiny-runtime-onnx-{digest}-1.json"),
    ]
