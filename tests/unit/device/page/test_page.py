"""The owner's pages as text: all is escaped, nothing is fetched, every part is there."""

from __future__ import annotations

from driftline_device.history.marks import Change, MarksVerdict
from driftline_device.history.records import PastAnswer, UpdateCard
from driftline_device.page.page import View, history_page, updates_page
from tests.fakes.html import Reader

HOSTILE = "<script>alert('x')</script>&\"'"
SNAPSHOT = {
    "pair": HOSTILE,
    "version": 3,
    "activity": "answering",
    "num_answered": 12,
    "num_sent": 4,
    "bytes_up": 4_096,
    "bytes_down": 9_000,
    "link": {"connected": False, "last_error": HOSTILE},
}


def make_past(**given: object) -> PastAnswer:
    values: dict[str, object] = {
        "id": "0a" * 16,
        "unix_s": 1.0,
        "feed": HOSTILE,
        "source": "door",
        "place": HOSTILE,
        "question": HOSTILE,
        "answer": HOSTILE,
        "uncertainty": 0.5,
        "version": 3,
    }
    return PastAnswer(**{**values, **given})  # type: ignore[arg-type]


def test_answers_are_shown_escaped_with_their_picture_and_a_form() -> None:
    past = make_past(has_picture=True, sample="ab" * 16, num_bytes=376)
    page = Reader(history_page(SNAPSHOT, [past], View(), more=True))
    assert "script" not in page.names and HOSTILE in page.text
    assert f"/history/{past.id}.png" in page.addresses
    assert "376 bytes for the cloud" in page.text
    assert {"right", "wrong"} <= set(page.values) and "unmark" not in page.values
    assert f"/history?before={past.id}" in page.addresses
    assert all(address.startswith(("/", "data:,")) for address in page.addresses)


def test_a_marked_answer_says_so_and_can_be_taken_back() -> None:
    past = make_past(right=False, right_answer="two")
    page = Reader(history_page(SNAPSHOT, [past], View(marked=True), more=False))
    assert "you said: wrong, right is two" in page.text
    assert "unmark" in page.values
    assert "no picture" in page.text


def test_only_a_live_page_loads_itself_again() -> None:
    assert 'http-equiv="refresh"' not in history_page(SNAPSHOT, [], View(), more=False)
    assert 'http-equiv="refresh"' in history_page(SNAPSHOT, [], View(live=True), more=False)


def test_a_card_tells_why_and_shows_what_was_fixed_and_broken() -> None:
    change = Change(id="0b" * 16, question=HOSTILE, before="red", after="blue", answer="red")
    marks = MarksVerdict(
        num=10, num_right_before=8, num_right=6, num_fixed=1, num_broken=3,
        fixed=(change,), broken=(change, change, change),
    )  # fmt: skip
    card = UpdateCard(
        unix_s=2.0,
        version=7,
        outcome="failed",
        reason="owner_disagrees",
        detail=marks.detail,
        num_bytes=6_400,
        marks=marks,
    )
    page = Reader(updates_page(SNAPSHOT, [card]))
    assert "Version 7: failed" in page.text and "6,400 bytes" in page.text
    assert "80% right before, 60% after" in page.text
    assert "breaks more answers that the owner marked" in page.text
    assert "Newly broken: 3" in page.text and page.text.count("you said red") == 4


def test_pages_without_anything_say_so() -> None:
    assert "No answer yet" in history_page(SNAPSHOT, [], View(), more=False)
    assert "No update has come" in updates_page(SNAPSHOT, [])
