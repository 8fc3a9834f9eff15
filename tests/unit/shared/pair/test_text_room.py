"""Text is bounded in tokens of the models that read it, without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from driftline_shared.errors import DataError
from driftline_shared.pair.pair import load_pair
from driftline_shared.pair.text_room import TextRoom, text_rooms

# 256 positions, less 64 visual tokens, 8 of an answer and the template's two.
ROOM = 182


@pytest.fixture(scope="module")
def rooms() -> tuple[TextRoom, ...]:
    return text_rooms(load_pair("tiny"))


def test_both_models_of_a_pair_say_what_they_have_room_for(rooms: tuple[TextRoom, ...]) -> None:
    assert [(room.side, room.most) for room in rooms] == [("student", ROOM), ("teacher", ROOM)]


@pytest.mark.parametrize(
    "text", ["\U0001f600" * 4_096, "what shape is in the image? " * 146, "a " * 2_000, "<" * 4_096]
)
def test_more_tokens_than_a_model_has_room_for_are_refused(
    rooms: tuple[TextRoom, ...], text: str
) -> None:
    with pytest.raises(DataError, match="tokens for the student, at most 182"):
        rooms[0].check(text, 1_024)


def test_texts_with_room_pass_whatever_they_spell(rooms: tuple[TextRoom, ...]) -> None:
    for text in (
        "what shape is in the image?",
        "what <image> is </s>?",
        "{question} {0}",
        "x" * 90,
    ):
        for room in rooms:
            room.check(text, 1_024)


def test_a_lower_limit_counts_and_the_edge_is_exact(rooms: tuple[TextRoom, ...]) -> None:
    text = "a " * 20
    num_tokens = rooms[0].num_tokens(text)
    rooms[0].check(text, num_tokens)
    with pytest.raises(DataError):
        rooms[0].check(text, num_tokens - 1)


def test_no_torch_is_imported() -> None:
    code = (
        "import sys\nfrom driftline_shared.pair.pair import load_pair\n"
        "from driftline_shared.pair.text_room import text_rooms\n"
        "assert len(text_rooms(load_pair('tiny'))) == 2\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
