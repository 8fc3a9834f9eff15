"""Checkpoints by hub id: from the cache without a network, else a clear error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from driftline_shared.errors import PairError
from driftline_shared.pair import hub
from driftline_shared.pair.pair import load_draft

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "acme/seer-7b"


@pytest.fixture(autouse=True)
def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is a closed port of this machine: what is tried on it fails at once."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT", 1)


def cached(cache: Path, files: dict[str, str], *, tag: str = "") -> Path:
    """A cache as the hub's own library lays it out."""
    model = cache / "models--acme--seer-7b"
    snapshot = model / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (model / "blobs").mkdir()
    for name, text in files.items():
        (snapshot / name).write_text(text)
    if tag:
        (model / "refs").mkdir()
        (model / "refs" / tag).write_text(COMMIT)
    return snapshot


WHOLE = {"config.json": "{}", "model.safetensors": "weights"}


def test_a_cached_commit_needs_no_network(tmp_path: Path) -> None:
    place = cached(tmp_path, WHOLE)
    assert hub.snapshot(MODEL, COMMIT, cache=tmp_path) == place


def test_a_cached_tag_leads_to_its_commit(tmp_path: Path) -> None:
    place = cached(tmp_path, WHOLE, tag="v1.0")
    assert hub.snapshot(MODEL, "v1.0", cache=tmp_path) == place


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": "{}"},
        {"model.safetensors": "weights"},
        {
            "config.json": "{}",
            "model.safetensors.index.json": json.dumps(
                {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
            ),
            "model-1.safetensors": "weights",
        },
    ],
)
def test_a_cache_with_parts_only_is_not_taken_for_whole(tmp_path: Path, files) -> None:
    cached(tmp_path, files)
    with pytest.raises(PairError, match="hub cannot be reached"):
        hub.snapshot(MODEL, COMMIT, cache=tmp_path)


def test_without_cache_and_network_cause_and_fix_are_named(tmp_path: Path) -> None:
    with pytest.raises(PairError) as raised:
        hub.snapshot(MODEL, COMMIT, cache=tmp_path)
    told = str(raised.value)
    assert "not in the local cache and the hub cannot be reached" in told
    assert 'path = "..."' in told


@pytest.mark.parametrize("revision", ["", "main"])
def test_a_revision_that_moves_is_refused_with_the_commit_there_is(
    tmp_path: Path, revision: str
) -> None:
    cached(tmp_path, WHOLE)
    with pytest.raises(PairError) as raised:
        hub.snapshot(MODEL, revision, cache=tmp_path)
    assert "same weights" in str(raised.value)
    assert COMMIT in str(raised.value)


def test_a_pair_finds_its_student_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = cached(tmp_path / "cache", {**WHOLE, "config.json": '{"model_type": "llava"}'})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pair.toml").write_text(
        'name = "x"\nprompt = "<image>{question}"\nmax_new_tokens = 1\n'
        f'[student]\nid = "{MODEL}"\nrevision = "{COMMIT}"\nquantization = "nf4"\n'
    )
    student = load_draft(tmp_path).student
    assert student.dir == place
    assert (student.id, student.revision) == (MODEL, COMMIT)
