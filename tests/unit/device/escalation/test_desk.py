"""From the question to the teacher's answer: told once, waited for by who can, and no longer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from driftline_device.daemon.listener import AbandonedError
from driftline_device.escalation.book import FILE, Book
from driftline_device.escalation.desk import KEEP_S, MOST_ASKED, EscalationDesk
from driftline_device.escalation.records import Asked, Tally
from driftline_shared.host.clock import SystemClock
from driftline_shared.status import Correction, SampleAck, SampleVerdict
from tests.fakes.clock import FakeClock

Told = list[tuple[Asked, str, bool]]
ONE, TWO = bytes(16), bytes([1]) * 16


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def desk(tmp_path: Path, clock: FakeClock, told: Told) -> Iterator[EscalationDesk]:
    found = open_desk(tmp_path, clock, told)
    yield found
    found.close()


def open_desk(state: Path, clock: FakeClock, told: Told) -> EscalationDesk:
    def tell(asked: Asked, correction: Correction, in_time: bool) -> None:
        told.append((asked, correction.answer, in_time))

    return EscalationDesk(Book(state), clock, on_correction=tell)


def asked_of(key: bytes, clock: FakeClock, answer: str = "two") -> Asked:
    return Asked(
        sample=key.hex(),
        answer_id=f"answer-{key.hex()}",
        unix_s=clock.now_s(),
        feed="door",
        source="camera",
        place="frame 7",
        question="how many?",
        answer=answer,
        version=3,
        num_bytes=700,
    )


def ack(key: bytes, verdict: SampleVerdict = SampleVerdict.STORED, **more: object) -> SampleAck:
    return replace(SampleAck(id=key, verdict=verdict, answer_follows=True), **more)


def test_a_correction_is_told_once_whenever_and_however_often_it_comes(
    desk: EscalationDesk, clock: FakeClock, told: Told, tmp_path: Path
) -> None:
    asked = asked_of(ONE, clock)
    desk.ask(asked)
    desk.kept(ONE)
    assert (desk.urgent(), desk.owed) == ([ONE], True)
    desk.acked([ack(ONE), ack(TWO)])
    assert (desk.urgent(), desk.owed) == ([], True)
    for _ in range(2):
        desk.take([Correction(id=ONE, answer="three"), Correction(id=TWO, answer="unasked")])
    assert told == [(asked, "three", False)]
    assert not desk.owed
    expected = {"asked": 1, "corrected": 1, "agreed": 0, "in_time": 0, "unanswered": 0}
    assert desk.statistics() == {**expected, "waiting": 0}
    book = Book(tmp_path, keeper=False)
    assert book.tally(now_s=clock.now_s()) == Tally(asked=1, num_bytes=700, corrected=1)
    book.close()


def test_it_is_told_after_a_restart_too(tmp_path: Path, clock: FakeClock, told: Told) -> None:
    first = open_desk(tmp_path, clock, told)
    first.ask(asked_of(ONE, clock))
    first.close()
    second = open_desk(tmp_path, clock, told)
    assert (second.urgent(), second.owed) == ([ONE], True)
    second.not_waiting([ONE])  # the cloud had it already
    assert (second.urgent(), second.owed) == ([], True)
    second.take([Correction(id=ONE, answer="Two.")])
    second.close()
    third = open_desk(tmp_path, clock, told)
    third.take([Correction(id=ONE, answer="Two.")])
    assert not third.owed
    third.close()
    assert [(answer, in_time) for _, answer, in_time in told] == [("Two.", False)]


def test_what_agrees_is_counted_as_people_would(
    desk: EscalationDesk, clock: FakeClock, told: Told
) -> None:
    desk.ask(asked_of(ONE, clock, answer="two"))
    desk.take([Correction(id=ONE, answer="Two.")])
    assert desk.statistics()["agreed"] == 1


@pytest.mark.parametrize(
    "word",
    [
        ack(ONE, SampleVerdict.REFUSED, reason="sample_shape", answer_follows=False),
        ack(ONE, answer_follows=False, no_answer="answers_full"),
        ack(ONE, SampleVerdict.DUPLICATE, answer_follows=False),  # of a cloud of before
    ],
)
def test_where_the_cloud_promises_nothing_nobody_waits(
    desk: EscalationDesk, clock: FakeClock, told: Told, word: SampleAck
) -> None:
    desk.ask(asked_of(ONE, clock), waits=True)
    desk.kept(ONE)
    desk.acked([word])
    assert desk.wait(ONE, 60.0) is None
    assert (clock.waits, told, desk.owed) == ([], [], False)
    assert desk.statistics()["unanswered"] == 1


def test_a_sample_that_has_to_wait_may_still_be_answered_late(
    desk: EscalationDesk, clock: FakeClock, told: Told
) -> None:
    desk.ask(asked_of(ONE, clock), waits=True)
    desk.kept(ONE)
    desk.acked([ack(ONE, SampleVerdict.RETRY, answer_follows=False)])
    assert desk.wait(ONE, 60.0) is None
    assert (clock.waits, desk.urgent()) == ([], [ONE])
    desk.take([Correction(id=ONE, answer="three")])
    assert [in_time for _, _, in_time in told] == [False]


def test_who_waits_gets_it_even_if_it_came_before_the_wait(
    desk: EscalationDesk, clock: FakeClock, told: Told
) -> None:
    desk.ask(asked_of(ONE, clock), waits=True)
    correction = Correction(id=ONE, answer="three")
    desk.take([correction])
    assert desk.wait(ONE, 60.0) == correction
    assert [in_time for _, _, in_time in told] == [True]


def test_who_waits_in_another_thread_gets_it(tmp_path: Path, told: Told) -> None:
    desk = EscalationDesk(Book(tmp_path), SystemClock())
    waiting = threading.Event()
    desk.ask(asked_of(ONE, FakeClock()), waits=True)
    correction = Correction(id=ONE, answer="three")
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(desk.wait, ONE, 60.0, waiting.set)
        assert waiting.wait(60.0)
        desk.take([correction])
        assert found.result(60.0) == correction
    desk.close()


def test_the_wait_ends_at_its_bound_and_the_answer_is_told_late(
    desk: EscalationDesk, clock: FakeClock, told: Told
) -> None:
    desk.ask(asked_of(ONE, clock), waits=True)
    before_s = clock.monotonic_s()
    assert desk.wait(ONE, 2.0) is None
    assert clock.monotonic_s() - before_s == pytest.approx(2.0)
    desk.take([Correction(id=ONE, answer="three")])
    assert [in_time for _, _, in_time in told] == [False]


def test_nobody_waits_for_a_cloud_that_is_away(desk: EscalationDesk, clock: FakeClock) -> None:
    desk.ask(asked_of(ONE, clock), waits=True)
    desk.reachable = lambda: False
    assert desk.wait(ONE, 60.0) is None
    assert clock.waits == []


def test_who_leaves_ends_the_wait(desk: EscalationDesk, clock: FakeClock, told: Told) -> None:
    def gone() -> None:
        raise AbandonedError

    desk.ask(asked_of(ONE, clock), waits=True)
    with pytest.raises(AbandonedError):
        desk.wait(ONE, 60.0, gone)
    desk.take([Correction(id=ONE, answer="three")])
    assert [in_time for _, _, in_time in told] == [False]


def test_a_teacher_that_cannot_answer_ends_it(
    desk: EscalationDesk, clock: FakeClock, told: Told
) -> None:
    desk.ask(asked_of(ONE, clock), waits=True)
    desk.take([Correction(id=ONE, no_answer="answer_late")])
    assert desk.wait(ONE, 60.0) is None
    assert (told, desk.owed, desk.statistics()["unanswered"]) == ([], False, 1)


def test_what_was_not_kept_was_never_asked(
    desk: EscalationDesk, clock: FakeClock, tmp_path: Path
) -> None:
    desk.ask(asked_of(ONE, clock), waits=True)
    desk.withdraw(ONE)
    assert desk.wait(ONE, 60.0) is None
    assert (desk.owed, desk.statistics()["asked"]) == (False, 0)
    book = Book(tmp_path, keeper=False)
    assert (book.tally(now_s=clock.now_s()), book.asked()) == (Tally(), [])
    book.close()


def test_what_is_remembered_is_bounded_in_number_and_age(
    desk: EscalationDesk, clock: FakeClock
) -> None:
    for number in range(MOST_ASKED + 1):
        desk.ask(asked_of(number.to_bytes(16, "big"), clock))
    assert desk.statistics()["waiting"] == MOST_ASKED
    clock.advance(KEEP_S + 1.0)
    desk.tidy()
    assert (desk.owed, desk.statistics()["unanswered"]) == (False, MOST_ASKED + 1)


def test_counts_are_of_the_last_day(desk: EscalationDesk, clock: FakeClock, tmp_path: Path) -> None:
    desk.ask(asked_of(ONE, clock))
    clock.advance(23 * 3600.0)
    desk.ask(asked_of(TWO, clock))
    book = Book(tmp_path, keeper=False)
    assert book.tally(now_s=clock.now_s()).asked == 2
    clock.advance(3600.0)
    assert book.tally(now_s=clock.now_s()).asked == 1
    book.close()


def test_a_disk_that_takes_nothing_costs_no_correction(
    tmp_path: Path, clock: FakeClock, told: Told
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    desk = open_desk(tmp_path / "state", clock, told)
    desk.ask(asked_of(ONE, clock))
    desk.take([Correction(id=ONE, answer="three")])
    assert len(told) == 1
    desk.close()


def test_a_row_that_a_bad_block_changed_is_dropped(
    tmp_path: Path, clock: FakeClock, told: Told
) -> None:
    desk = open_desk(tmp_path, clock, told)
    desk.ask(asked_of(ONE, clock))
    desk.ask(asked_of(TWO, clock))
    desk.close()
    path = tmp_path / FILE
    data = path.read_bytes()
    assert data.count(b"answer_id") == 2
    path.write_bytes(data.replace(b'"answer_id"', b'"answer_ie"', 1))
    again = open_desk(tmp_path, clock, told)
    assert again.statistics()["waiting"] == 1
    again.close()
