"""From the messages of a conversation to one question about one picture.

A pair answers one question about one picture; its prompt has no place for anything else. Earlier
turns go in as lines of text before the question, within a bound; a system message does where the
owner says that this model understands it. What is left out is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from driftline_device.api.chat.parts import Picture, read_content
from driftline_device.api.settings import ApiConfig
from driftline_device.api.wording import shown, wrong
from driftline_shared.tokens import MAX_TEXT_CHARS

INSTRUCTING = ("system", "developer")
OF_TOOLS = ("tool", "function")

PICTURE_NEEDED = (
    "there is no picture: this model answers questions about a picture, not about text alone; send "
    "one as an image_url part with a data URL, data:image/jpeg;base64,..."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What one side said."""

    role: str
    texts: tuple[str, ...]
    pictures: tuple[Picture, ...]

    @property
    def text(self) -> str:
        """All of it, a line a part."""
        return "\n".join(text.strip() for text in self.texts if text.strip())


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """Instructions, and turns of user and assistant. `has_tools`: there were messages of tools."""

    instructions: tuple[str, ...]
    turns: tuple[Turn, ...]
    has_tools: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Composed:
    """One question about one picture. `left_out`: words for what is not in it."""

    question: str
    picture: Picture
    left_out: tuple[str, ...]


def read_messages(messages: Sequence[Any], place: str) -> Conversation:
    """Messages of a role and a content; ApiError (400) naming the one that is wrong."""
    instructions: list[str] = []
    turns: list[Turn] = []
    has_tools = False
    for number, message in enumerate(messages):
        where = f"{place}.{number}"
        if not isinstance(message, dict):
            raise wrong(where, "invalid_value", f"{where} must be an object, not {shown(message)}")
        role = message.get("role")
        if role in OF_TOOLS:
            has_tools = True
            continue
        if role not in (*INSTRUCTING, "user", "assistant"):
            raise wrong(
                f"{where}.role",
                "invalid_value",
                f"{where}.role must be system, developer, user or assistant, not {shown(role)}",
            )
        said = list(read_content(message.get("content"), f"{where}.content"))
        texts = tuple(part for part in said if isinstance(part, str))
        pictures = tuple(part for part in said if isinstance(part, Picture))
        if role in INSTRUCTING:
            if pictures:
                problem = f"{where}: a picture belongs in a message of role user, not {role}"
                raise wrong(pictures[0].place, "unsupported_content", problem)
            instructions.extend(texts)
        else:
            turns.append(Turn(role=role, texts=texts, pictures=pictures))
    return Conversation(instructions=tuple(instructions), turns=tuple(turns), has_tools=has_tools)


def compose(conversation: Conversation, config: ApiConfig, *, place: str) -> Composed:
    """The question that the messages since the last answer ask, about the last picture.

    `place`: the parameter that refusals name. ApiError (400) where there is no question or picture.
    """
    left_out: list[str] = []
    turns = conversation.turns
    begin = len(turns)
    while begin and turns[begin - 1].role == "user":
        begin -= 1
    asked, earlier = turns[begin:], turns[:begin]
    if not asked:
        problem = f"{place}: the last message must be of role user: it is what is asked"
        raise wrong(place, "no_question", problem)
    picture = _picture(asked, earlier, config, place, left_out)
    question = _joined(turn.text for turn in asked)
    if not question:
        raise wrong(place, "no_text", f"{place}: no text: ask something about the picture")
    instructions = _joined(text.strip() for text in conversation.instructions)
    if instructions and config.system_message == "before_question":
        question = f"{instructions}\n{question}"
    elif instructions:
        left_out.append("system")
    if len(question) > MAX_TEXT_CHARS:
        length = f"{len(question)} characters of text, at most {MAX_TEXT_CHARS}"
        raise wrong(place, "string_above_max_length", f"{place}: {length}")
    room = min(config.history_chars, MAX_TEXT_CHARS - len(question) - 1)
    kept = _newest(earlier, room)
    if len(kept) < sum(1 for turn in earlier if turn.text):
        left_out.append("history")
    if conversation.has_tools:
        left_out.append("tools")
    return Composed(question=_joined([*kept, question]), picture=picture, left_out=tuple(left_out))


def _picture(
    asked: Sequence[Turn],
    earlier: Sequence[Turn],
    config: ApiConfig,
    place: str,
    left_out: list[str],
) -> Picture:
    before = [picture for turn in earlier for picture in turn.pictures]
    now = [picture for turn in asked for picture in turn.pictures]
    if not now and not before:
        raise wrong(place, "picture_needed", f"{place}: {PICTURE_NEEDED}")
    if len(now) > 1 and config.several_pictures == "refuse":
        raise wrong(
            now[-1].place,
            "one_picture_needed",
            f"{place}: {len(now)} pictures in one question; this model sees one "
            "(api.several_pictures = last takes the last one)",
        )
    if len(now) + len(before) > 1:
        left_out.append("pictures")
    return [*before, *now][-1]


def _newest(turns: Sequence[Turn], room: int) -> list[str]:
    """The newest turns' texts, in their order, as many whole ones as `room` characters take."""
    kept: list[str] = []
    for turn in reversed(turns):
        if not turn.text:
            continue
        room -= len(turn.text) + 1
        if room < 0:
            break
        kept.append(turn.text)
    return kept[::-1]


def _joined(texts: Iterable[str]) -> str:
    return "\n".join(text for text in texts if text)
