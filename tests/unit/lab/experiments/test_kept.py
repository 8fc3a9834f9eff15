"""A kept run counts only as the file that was written for that very run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from driftline_lab.experiments import kept
from driftline_lab.experiments.result import SEGMENT, START, Result
from driftline_shared.errors import DataError
from tests.fakes.results import some_row

ROW = some_row(START, "source", {"source": 0.5, "night": 1 / 3})
RESULT = Result(
    baseline="tent",
    seed=3,
    teacher={"source": 1.0, "night": 0.9},
    rows=(ROW, replace(ROW, kind=SEGMENT, answered=0.25)),
    seconds={"all": 1.5},
)


def read(path: Path, key: str = "k") -> Result | None:
    return kept.read(path, key, baseline="tent", seed=3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    kept.write(tmp_path / "run.json", RESULT, "k")
    return tmp_path / "run.json"


def test_what_was_written_is_read(path: Path) -> None:
    assert read(path) == RESULT
    assert read(path.with_name("missing.json")) is None


def _edit(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def edited(data: bytes) -> bytes:
        document = json.loads(data)
        change(document)
        return json.dumps(document).encode()

    return edited


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: data[: len(data) // 2], "not whole"),
        (lambda data: b"", "not whole"),
        (lambda data: b"\xff", "not whole"),
        (lambda data: b"[" * 100_000, "not whole"),
        (lambda data: b"[]", "not whole"),
        (_edit(lambda d: d.pop("digest")), "another version"),
        (_edit(lambda d: d["result"].update(rows=[])), "was changed"),
        (_edit(lambda d: d["result"].pop("rows")), "holds no result"),
        (_edit(lambda d: d["result"]["rows"][0]["accuracy"].update(night=7.0)), "was changed"),
        (_edit(lambda d: d["result"]["seconds"].update(all=float("nan"))), "not whole"),
    ],
)
def test_a_file_that_was_changed_is_refused(
    path: Path, spoil: Callable[[bytes], bytes], said: str
) -> None:
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=said):
        read(path)


def test_the_file_of_another_run_is_refused(path: Path) -> None:
    with pytest.raises(DataError, match="of another run"):
        read(path, "other")
    with pytest.raises(DataError, match="of tent, seed 3, not of cotta, seed 3"):
        kept.read(path, "k", baseline="cotta", seed=3)
    with pytest.raises(DataError, match="not of tent, seed 4"):
        kept.read(path, "k", baseline="tent", seed=4)
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        read(path)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (replace(RESULT, rows=()), "no rows"),
        (replace(RESULT, rows=(ROW,)), "whole stream"),
        (replace(RESULT, teacher={"source": 1.0}), "different domains"),
        (replace(RESULT, teacher={"source": 1.0, "night": 1.5}), "outside 0..1"),
        (replace(RESULT, rows=(ROW, replace(RESULT.last, answered=-0.1))), "outside 0..1"),
    ],
)
def test_a_result_that_no_run_gives_is_refused(path: Path, result: Result, said: str) -> None:
    kept.write(path, result, "k")
    with pytest.raises(DataError, match=said):
        read(path)


def test_a_file_is_read_up_to_a_bound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="more than 10 bytes"):
        read(path)
