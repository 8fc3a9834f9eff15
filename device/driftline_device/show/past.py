"""Past answers, marks and updates in words, for a terminal."""

from __future__ import annotations

from datetime import datetime

from driftline_device.history.marks import Change, Mark
from driftline_device.history.records import PastAnswer, UpdateCard
from driftline_device.sinks.console import one_line

ID_CHARS = 8
"""Of an answer's id that are shown: its end, which tells answers apart."""

_WORDS = {None: "", True: "  marked right", False: "  marked wrong"}


def describe_answer(past: PastAnswer) -> str:
    """One line."""
    doubt = "" if past.uncertainty is None else f"  uncertainty {past.uncertainty:.3f}"
    sent = f"  {past.num_bytes:,} B for the cloud" if past.sample else ""
    mark = _WORDS[past.right]
    if past.right_answer is not None:
        mark += f": {one_line(past.right_answer)}"
    if past.teacher_answer is not None:
        mark += f"  the teacher says: {one_line(past.teacher_answer)}"
    where = f"{past.feed}  {past.place}" if past.place else past.feed
    said = f"{one_line(past.question)}  ->  {one_line(past.answer)}"
    return (
        f"{past.id[-ID_CHARS:]}  {_when(past.unix_s)}  {one_line(where)}  {said}{doubt}"
        f"  version {past.version}{sent}{mark}"
    )


def describe_mark(mark: Mark, *, kept: bool) -> str:
    """What was noted; `kept`: whether the picture is there."""
    word = "right" if mark.right else "wrong"
    instead = "" if mark.answer is None else f"; right is {mark.answer!r}"
    picture = (
        "later updates are held to it"
        if kept
        else "its picture is not on disk: a running device that still holds it adds it within a"
        " second, else no update can be held to this (history.pictures = true keeps those to come)"
    )
    return f"{mark.id[-ID_CHARS:]}: {mark.said!r} was {word}{instead}; {picture}"


def describe_card(card: UpdateCard) -> list[str]:
    """What became of an update, and why."""
    size = f"  {card.num_bytes:,} B" if card.num_bytes else ""
    lines = [f"{_when(card.unix_s)}  version {card.version}  {card.outcome}{size}"]
    if card.outcome != "applied":
        lines.append(f"    {card.reason}: {card.detail}" if card.detail else f"    {card.reason}")
    if card.marks.num:
        lines.append(f"    {card.marks.detail}")
        lines += [f"    fixed:  {_change(each)}" for each in card.marks.fixed]
        lines += [f"    broken: {_change(each)}" for each in card.marks.broken]
    return lines


def _change(change: Change) -> str:
    wanted = "" if change.answer is None else f"  (you said {change.answer})"
    return f"{change.question}  {change.before} -> {change.after}{wanted}"


def _when(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s).astimezone():%Y-%m-%d %H:%M:%S}"
