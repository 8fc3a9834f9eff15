"""Broken documents of every format, a short run; and the bench sees what is no refusal."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from driftline_lab.bench.fuzz.formats import run
from driftline_lab.bench.fuzz.formats.run import known, run_mutations, tried
from driftline_lab.bench.fuzz.formats.targets import NAMES, targets
from driftline_lab.bench.fuzz.formats.trees import changed_tree
from driftline_shared.errors import ConfigError, Reason, UpdateError


def test_every_target_is_named() -> None:
    assert set(targets()) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_good_documents_are_read(name: str) -> None:
    target = targets()[name]
    for data in target.corpus:
        target.read(data)


@pytest.mark.parametrize("name", NAMES)
def test_broken_ones_are_read_or_refused(name: str) -> None:
    (result,) = run_mutations([name], num=150, seed=5).values()
    assert result == {"executions": 150, "findings": {}}


def test_what_is_no_refusal_is_counted_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(data: bytes) -> None:
        raise ZeroDivisionError(str(len(data)))

    broken = {"state": replace(targets()["state"], read=read)}
    monkeypatch.setattr(run, "targets", lambda: broken)
    (result,) = run_mutations(["state"], num=5, seed=0, keep=tmp_path / "kept").values()
    assert sum(result["findings"].values()) == 6  # the good one, too
    assert list((tmp_path / "kept" / "state").iterdir())


def test_odd_metadata_that_a_thief_signed_is_refused() -> None:
    """Found by trees: a device met it with a TypeError out of `tuf`."""
    target = targets()["signed-role"]
    read = [json.loads(good) for good in target.corpus]
    [delegating] = [one for one in read if "delegations" in one]
    delegating["delegations"]["roles"][0]["name"] = True
    with pytest.raises(UpdateError) as caught:
        target.read(json.dumps(delegating).encode())
    assert caught.value.reason is Reason.METADATA_INVALID


def test_json_is_changed_as_a_tree() -> None:
    good = b'{"a": [1, {"b": "c"}], "d": null}'
    made = {changed_tree(good, random.Random(seed)) for seed in range(200)}
    assert len(made) > 100 and None not in made
    assert all(json.loads(each or b"") is not None for each in made)
    assert changed_tree(b"no JSON", random.Random(0)) is None
    assert changed_tree(b"[" * 100_000, random.Random(0)) is None


def test_a_slow_document_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((0.0, 3.0))
    monkeypatch.setattr("time.process_time", lambda: next(times))
    assert tried(targets()["state"], b"{}") == "took 3.0 s"


def test_an_unknown_format_is_refused() -> None:
    assert known([]) == list(NAMES)
    with pytest.raises(ConfigError, match="no format 'pickle'"):
        known(["pickle"])
