"""What a spool promises."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from driftline_device.spool.spool import Spool
from driftline_device.spool.sqlite import SqliteSpool
from driftline_shared.tokens import Sample
from driftline_shared.wire import EncodedSample, dump_sample
from tests.fakes.samples import encoded, make_regions, make_sample

MakeSpool = Callable[..., Spool]


@pytest.fixture
def make_spool(tmp_path: Path) -> Iterator[MakeSpool]:
    made: list[Spool] = []

    def make(*, max_bytes: int = 1 << 20, max_samples: int = 1_000) -> Spool:
        path = tmp_path / f"spool{len(made)}.sqlite"
        spool = SqliteSpool(path, max_bytes=max_bytes, max_samples=max_samples)
        made.append(spool)
        return spool

    yield make
    for spool in made:
        spool.close()


def fill(spool: Spool, *samples: Sample) -> None:
    for sample in samples:
        assert spool.append(EncodedSample.of(sample))


def everything(spool: Spool) -> list[Sample]:
    return [row.sample for _, row in spool.peek(max_bytes=1 << 40, max_samples=1 << 20)]


def test_regions_come_back_and_count_as_bytes(make_spool: MakeSpool) -> None:
    spool = make_spool()
    samples = [replace(make_sample(n), regions=make_regions(n)) for n in range(3)]
    fill(spool, *samples)
    assert everything(spool) == samples
    assert spool.stats().num_bytes == sum(len(dump_sample(sample)) for sample in samples)
    assert spool.stats().num_bytes > 3 * 440


def test_sequences_rise_and_after_skips(make_spool: MakeSpool) -> None:
    spool = make_spool()
    fill(spool, *map(make_sample, range(4)))
    rows = spool.peek(max_bytes=1 << 20, max_samples=10)
    sequences = [sequence for sequence, _ in rows]
    assert sequences == sorted(set(sequences)) and sequences[0] > 0
    later = spool.peek(max_bytes=1 << 20, max_samples=10, after=sequences[1])
    assert list(later) == list(rows[2:])
    assert list(spool.peek(max_bytes=1 << 20, max_samples=10, after=sequences[-1])) == []


def test_peek_is_bounded_but_gives_at_least_one(make_spool: MakeSpool) -> None:
    spool = make_spool()
    samples = [make_sample(n) for n in range(5)]
    fill(spool, *samples)
    three = sum(len(dump_sample(sample)) for sample in samples[:3])
    assert len(spool.peek(max_bytes=1 << 20, max_samples=2)) == 2
    assert len(spool.peek(max_bytes=three, max_samples=9)) == 3
    assert len(spool.peek(max_bytes=three - 1, max_samples=9)) == 2
    assert len(spool.peek(max_bytes=1, max_samples=9)) == 1


def test_ack_forgets_and_counts(make_spool: MakeSpool) -> None:
    spool = make_spool()
    fill(spool, *map(make_sample, range(3)))
    assert spool.ack([make_sample(1).id, make_sample(9).id, make_sample(1).id]) == 1
    assert [sample.id for sample in everything(spool)] == [make_sample(n).id for n in (0, 2)]
    stats = spool.stats()
    assert (stats.num_samples, stats.num_appended, stats.num_acked) == (2, 3, 1)


def test_refuse_forgets_and_counts_by_reason(make_spool: MakeSpool) -> None:
    spool = make_spool()
    fill(spool, *map(make_sample, range(3)))
    assert spool.refuse([make_sample(0).id, make_sample(2).id], "sample_shape") == 2
    assert spool.refuse([make_sample(0).id], "sample_shape") == 0
    stats = spool.stats()
    assert (stats.num_samples, stats.num_refused, stats.num_acked) == (1, 2, 0)
    assert stats.refused_by_reason == {"sample_shape": 2}


def test_a_known_id_changes_nothing(make_spool: MakeSpool) -> None:
    spool = make_spool()
    spool.append(encoded(1, priority=1.0))
    assert not spool.append(
        EncodedSample.of(replace(make_sample(1, priority=9.0), answer="another"))
    )
    assert everything(spool) == [make_sample(1, priority=1.0)]
    assert spool.stats().num_appended == 1


def test_a_sequence_is_never_used_twice(make_spool: MakeSpool) -> None:
    spool = make_spool()
    spool.append(encoded(1))
    first = spool.peek(max_bytes=1, max_samples=1)[0][0]
    spool.ack([make_sample(1).id])
    spool.append(encoded(2))
    assert spool.peek(max_bytes=1, max_samples=1)[0][0] > first


def test_full_by_bytes_evicts_as_many_as_needed(make_spool: MakeSpool) -> None:
    small = [make_sample(n, priority=n, payload_bytes=1_000) for n in range(4)]
    large = make_sample(9, priority=9, payload_bytes=2_500)
    spool = make_spool(max_bytes=sum(len(dump_sample(sample)) for sample in small))
    fill(spool, *small)
    assert spool.append(EncodedSample.of(large))
    assert everything(spool) == [small[3], large]
    stats = spool.stats()
    assert stats.num_evicted == 3
    assert stats.num_bytes == len(dump_sample(small[3])) + len(dump_sample(large))


def test_one_that_never_fits_pushes_nobody_out(make_spool: MakeSpool) -> None:
    spool = make_spool(max_bytes=1_000)
    spool.append(encoded(1))
    assert not spool.append(encoded(2, priority=9.0, payload_bytes=2_000))
    assert everything(spool) == [make_sample(1)]
    assert spool.stats().num_evicted == 1


def test_a_priority_that_is_no_number_counts_as_zero(make_spool: MakeSpool) -> None:
    spool = make_spool(max_samples=2)
    spool.append(encoded(0, priority=1.0))
    assert spool.append(encoded(1, priority=float("nan")))
    spool.append(encoded(2, priority=0.5))
    assert [sample.id for sample in everything(spool)] == [make_sample(n).id for n in (0, 2)]


def test_many_threads_lose_and_double_nothing(make_spool: MakeSpool) -> None:
    spool = make_spool()
    num_threads, num_each = 4, 25
    acked: list[int] = []

    def append(thread: int) -> None:
        for n in range(num_each):
            assert spool.append(encoded(thread * 1_000 + n))

    def ack() -> None:
        for _ in range(20):
            rows = spool.peek(max_bytes=1 << 20, max_samples=5)
            acked.append(spool.ack([sample.id for _, sample in rows]))

    threads = [threading.Thread(target=append, args=(n,)) for n in range(num_threads)]
    threads.append(threading.Thread(target=ack))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    stats = spool.stats()
    assert stats.num_appended == num_threads * num_each
    assert stats.num_acked == sum(acked)
    assert stats.num_samples == stats.num_appended - stats.num_acked == len(everything(spool))


operations = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 30), st.integers(-3, 3)),
        st.tuples(st.just("ack"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("refuse"), st.integers(0, 30), st.just(0)),
    ),
    max_size=40,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example([("append", n, -n) for n in range(5)], 2)  # a newcomer is the least informative
@example([("append", n, 1) for n in range(3)], 2)  # on a tie the older one goes
@given(operations, st.integers(1, 6))
def test_any_history_agrees_with_a_plain_list(
    make_spool: MakeSpool, history: list[tuple[str, int, int]], max_samples: int
) -> None:
    spool = make_spool(max_samples=max_samples)
    model: list[Sample] = []
    for operation, number, priority in history:
        sample = make_sample(number, priority=float(priority))
        here = [known for known in model if known.id == sample.id]
        if operation == "append":
            if not here:
                model.append(sample)
                if len(model) > max_samples:
                    model.remove(min(model, key=lambda known: known.priority))
            assert spool.append(EncodedSample.of(sample)) == (not here and sample in model)
        else:
            forget = spool.ack if operation == "ack" else lambda ids: spool.refuse(ids, "because")
            assert forget([sample.id]) == len(here)
            model = [known for known in model if known.id != sample.id]
    assert everything(spool) == model
    stats = spool.stats()
    assert stats.num_samples == len(model)
    assert stats.num_bytes == sum(len(dump_sample(sample)) for sample in model)
    gone = stats.num_acked + stats.num_refused + stats.num_evicted
    assert stats.num_appended == len(model) + gone
