"""The window against a spool in memory: any order of acks, nothing sent twice, nothing left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_device.link.window import Window

SIZE = 10


def next_unsent(window: Window, spool: dict[bytes, int]) -> tuple[int, bytes] | None:
    """What the uplink does: read on from the cursor, past what is under way."""
    for _ in range(2):
        for sample_id, sequence in spool.items():
            if sequence > window.cursor:
                if not window.is_under_way(sample_id):
                    return sequence, sample_id
                window.pass_over(sequence)
        window.rewind()
    return None


def test_bounds_bytes_and_number() -> None:
    window = Window(max_bytes=25, max_samples=3)
    assert (window.room_bytes, window.room_samples) == (25, 3)
    window.send(b"a", sequence=1, num_bytes=20, now_s=1.0)
    assert (window.room_bytes, window.room_samples) == (5, 2)
    window.send(b"b", sequence=2, num_bytes=20, now_s=2.0)
    assert window.room_bytes == 0
    window.settle(b"a")
    assert (window.room_bytes, window.oldest_s) == (5, 2.0)
    window.settle(b"b")
    assert (window.room_bytes, window.oldest_s, len(window)) == (25, None, 0)


def test_full_by_number_leaves_no_room_in_bytes() -> None:
    window = Window(max_bytes=100, max_samples=1)
    window.send(b"a", sequence=1, num_bytes=1, now_s=0.0)
    assert window.room_bytes == 0


def test_nothing_is_sent_twice_at_once() -> None:
    window = Window(max_bytes=100, max_samples=9)
    window.send(b"a", sequence=1, num_bytes=1, now_s=0.0)
    with pytest.raises(ValueError, match="under way"):
        window.send(b"a", sequence=1, num_bytes=1, now_s=0.0)


def test_answers_to_the_unknown_change_nothing() -> None:
    window = Window(max_bytes=100, max_samples=9)
    window.send(b"a", sequence=5, num_bytes=1, now_s=0.0)
    window.settle(b"x")
    window.send_again(b"x")
    assert (len(window), window.cursor, window.room_bytes) == (1, 5, 99)


@given(st.lists(st.sampled_from(["send", "ack", "again"]), max_size=60), st.randoms())
def test_any_history_settles_everything(history: list[str], rng) -> None:  # type: ignore[no-untyped-def]
    spool = {bytes([n]): n + 1 for n in range(12)}
    window = Window(max_bytes=5 * SIZE, max_samples=4)
    under_way: list[bytes] = []
    for step in [*history, *["send", "ack"] * 40]:
        if step == "send" and window.room_bytes:
            found = next_unsent(window, spool)
            if found is not None:
                window.send(found[1], sequence=found[0], num_bytes=SIZE, now_s=0.0)
                under_way.append(found[1])
        elif step != "send" and under_way:
            sample_id = under_way.pop(rng.randrange(len(under_way)))
            if step == "ack":
                del spool[sample_id]
                window.settle(sample_id)
            else:
                window.send_again(sample_id)
        assert len(window) == len(under_way) <= 4
        assert window.room_bytes == (0 if len(window) == 4 else 5 * SIZE - SIZE * len(window))
    assert not spool and not under_way
