"""The cache of a replay: what is kept comes back, what is broken does not, and it stays small."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.jobs import DistillJob, Label, ScoreJob
from driftline_lab.replay.cache.store import ResultStore
from driftline_lab.replay.cache.workers import CachedWorkers
from driftline_shared.callbacks import ignore
from driftline_shared.errors import ConfigError
from driftline_shared.update import adapter_digest
from tests.fakes.cloud import ReckoningWorkers, bare_pair, make_sample, start_adapter

PAIR = Path("a-pair")


def key(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def test_results_come_back_after_a_restart(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.put({key(n): bytes([n]) * n for n in range(5)})
    store.close()
    again = ResultStore(tmp_path)
    assert again.get([key(3), key(9), key(0)]) == {key(3): b"\3\3\3", key(0): b""}
    assert again.num_bytes == 10
    again.close()


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 40)), max_size=30))
def test_it_never_holds_more_than_its_bound(
    tmp_path_factory: pytest.TempPathFactory, puts: list[tuple[int, int]]
) -> None:
    store = ResultStore(tmp_path_factory.mktemp("cache"), max_bytes=100)
    for number, size in puts:
        store.put({key(number): b"x" * size})
        found = store.get([key(n) for n in range(9)])
        assert sum(map(len, found.values())) == store.num_bytes <= 100
        assert found[key(number)] == b"x" * size
    store.close()


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    store = ResultStore(tmp_path, max_bytes=3)
    for number in (1, 2, 3):
        store.put({key(number): b"x"})
    store.get([key(1)])
    store.put({key(4): b"x"})
    assert set(store.get([key(n) for n in range(5)])) == {key(1), key(3), key(4)}
    store.close()


def test_a_row_that_was_changed_counts_as_missing(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.put({key(1): b"right", key(2): b"whole"})
    store.close()
    with sqlite3.connect(tmp_path / "results.sqlite") as database:
        database.execute("UPDATE results SET body = ? WHERE key = ?", (b"wrong", key(1)))
    database.close()
    again = ResultStore(tmp_path)
    assert again.get([key(1), key(2)]) == {key(2): b"whole"}
    assert again.num_bytes == 5
    again.close()


def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "results.sqlite").write_bytes(b"no database at all, " * 100)
    store = ResultStore(tmp_path)
    assert store.get([key(1)]) == {}
    store.close()
    assert (tmp_path / "results.broken").exists()


def test_a_folder_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        ResultStore(tmp_path / "file" / "cache")


def cached(folder: Path, workers: ReckoningWorkers, models: str = "m") -> CachedWorkers:
    return CachedWorkers(workers, ResultStore(folder), models=models)


def test_a_second_run_asks_the_workers_for_nothing(tmp_path: Path) -> None:
    space = bare_pair(tmp_path / "pair").token_space
    samples = [make_sample(n, space) for n in range(6)]
    found = []
    for workers in (ReckoningWorkers(), ReckoningWorkers()):
        work = cached(tmp_path / "cache", workers)
        labels = work.label(PAIR, samples, ignore)
        job = DistillJob(
            pair_dir=PAIR, seed=1, start=start_adapter(), samples=samples, labels=labels
        )
        candidate = work.distil(job, ignore)
        gate = ScoreJob(pair_dir=PAIR, holdout=samples[:2], labels=labels[:2])
        scores = work.score(gate, [candidate.adapter, start_adapter(), candidate.adapter])
        found.append((labels, adapter_digest(candidate.adapter), candidate.numbers, scores))
        work.close()
    assert found[0] == found[1]
    assert workers.num_labelled == workers.num_distilled == 0
    assert (work.hits.labels_kept, work.hits.jobs_made) == (6, 0)


def test_a_label_belongs_to_tokens_question_and_models_not_to_an_id(tmp_path: Path) -> None:
    space = bare_pair(tmp_path / "pair").token_space
    sample = make_sample(1, space)
    workers = ReckoningWorkers()
    work = cached(tmp_path / "cache", workers)
    first = work.label(PAIR, [sample], ignore)[0]
    renamed = replace(sample, id=bytes(16), answer="other", created_unix_s=5)
    again = work.label(PAIR, [renamed], ignore)[0]
    assert again == replace(first, sample_id=bytes(16)) and workers.num_labelled == 1
    work.label(PAIR, [replace(sample, question="how many?")], ignore)
    work.label(PAIR, [replace(make_sample(2, space), question=sample.question)], ignore)
    assert workers.num_labelled == 3
    work.close()
    other = cached(tmp_path / "cache", workers, models="n")
    other.label(PAIR, [sample], ignore)
    assert workers.num_labelled == 4
    other.close()


def test_a_candidate_belongs_to_every_part_of_its_job(tmp_path: Path) -> None:
    space = bare_pair(tmp_path / "pair").token_space
    samples = [make_sample(n, space) for n in range(3)]
    labels = [Label(sample_id=s.id, text="a", tokens=(1,), confidence=0.5) for s in samples]
    job = DistillJob(pair_dir=PAIR, seed=1, start=start_adapter(), samples=samples, labels=labels)
    moved = {name: array + 1 for name, array in start_adapter().items()}
    others = [
        replace(job, seed=2),
        replace(job, start=moved),
        replace(job, samples=samples[::-1], labels=labels[::-1]),
        replace(job, labels=[replace(labels[0], text="b"), *labels[1:]]),
        replace(job, settings={"a1": 0.5}),
        replace(job, samples=samples[:2], labels=labels[:2], rehearsal=samples[2:],
                rehearsal_labels=labels[2:]),
    ]  # fmt: skip
    workers = ReckoningWorkers()
    work = cached(tmp_path / "cache", workers)
    for one in (job, *others, job, *others):
        work.distil(one, ignore)
    assert workers.num_distilled == 1 + len(others)
    work.close()
