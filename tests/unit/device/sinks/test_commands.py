"""Words of an owner between the thread that hears them and the one that takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from driftline_device.history.feedback import MOST_FEEDBACK_BYTES, read_feedback
from driftline_device.sinks.commands import MOST_BYTES, MOST_WAITING, TELL_S, Commands, Said
from driftline_shared.errors import DataError
from tests.fakes.clock import FakeClock


class Owner:
    """Takes words; `refuses`: what it raises."""

    def __init__(self, folder: Path, refuses: Exception | None = None) -> None:
        self.clock = FakeClock()
        self.heard: list[bytes] = []
        self.replies: list[dict[str, Any]] = []
        self.acknowledged: list[Said] = []
        self._refuses = refuses
        self.commands = Commands(self._take, last=folder / "last", clock=self.clock, sink="mqtt")

    def _take(self, data: bytes) -> dict[str, Any]:
        if self._refuses is not None:
            raise self._refuses
        self.heard.append(data)
        return {"id": "1"}

    def say(self, payload: bytes, *, retained: bool = False) -> None:
        assert self.commands.hear(Said(payload=payload, retained=retained, key=(1, 1)))
        self.commands.take(self.replies.append, self.acknowledged.append)


def test_a_retained_word_is_shown_again_and_taken_once_over_a_restart(tmp_path: Path) -> None:
    first = Owner(tmp_path)
    first.say(b"kept", retained=True)
    first.say(b"other")
    first.say(b"kept", retained=True)
    assert first.heard == [b"kept", b"other"] and len(first.acknowledged) == 3
    again = Owner(tmp_path)
    again.say(b"kept", retained=True)
    assert again.heard == [] and again.replies == []
    again.say(b"kept")
    assert again.heard == [b"kept"], "said anew, it counts"


def test_refusals_are_answered_each_and_told_at_a_bounded_rate(tmp_path: Path) -> None:
    owner = Owner(tmp_path, DataError("no answer ends so"))
    with capture_logs() as logs:
        for _ in range(50):
            owner.say(b'{"id": "abcd"}')
        owner.clock.advance(TELL_S)
        owner.say(b"x" * (MOST_BYTES + 1))
    assert [each["num_refused"] for each in logs] == [1, 50]
    assert len(owner.replies) == 51 and owner.replies[0]["id"] == "abcd"
    assert "bytes" in owner.replies[-1]["error"]


def test_only_so_many_wait_and_a_broken_connection_forgets_them(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    said = Said(payload=b"x", retained=False, key=(1, 1))
    assert [owner.commands.hear(said) for _ in range(MOST_WAITING + 1)].count(False) == 1
    owner.commands.forget()
    owner.say(b"later")
    assert owner.heard == [b"later"]


def test_a_word_that_the_disk_did_not_take_is_taken_when_it_is_shown_again(tmp_path: Path) -> None:
    owner = Owner(tmp_path, OSError(28, "No space left on device"))
    owner.say(b"kept", retained=True)
    assert not owner.replies[0]["ok"]
    again = Owner(tmp_path)
    again.say(b"kept", retained=True)
    assert again.heard == [b"kept"]


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda t: t.encode())))
def test_any_bytes_are_a_word_or_refused(data: bytes) -> None:
    try:
        found = read_feedback(data)
    except ValueError:
        return
    assert (found.right is None) != (found.wrong is None)


@pytest.mark.parametrize("data", [b" " * (MOST_FEEDBACK_BYTES + 1), b"[" * 9_000, b"\xff", b"null"])
def test_what_is_no_word_says_what_is(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"feedback is|bytes"):
        read_feedback(data)
