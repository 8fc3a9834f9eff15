"""The owner's pages: past answers with what to say about them, and what became of updates.

Pages need nothing else: no script, no network, no font of their own. Every form is a plain POST.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from typing import Any

from driftline_device.history.marks import Change
from driftline_device.history.records import PastAnswer, UpdateCard
from driftline_shared.errors import Reason, explain
from driftline_shared.pages.document import document
from driftline_shared.pages.markup import Markup, join, tag

LIVE_S = 5
"""Seconds between two loads of a page that is live."""

_TITLES = {"/history": "Answers", "/updates": "Updates"}


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What of the history is asked for. `before`: an answer's id; older ones are shown."""

    before: str = ""
    marked: bool = False
    live: bool = False

    def address(self, **changes: Any) -> str:
        """The page's own address with `changes`."""
        values = {"before": self.before, "marked": self.marked, "live": self.live, **changes}
        query = "&".join(
            f"{name}={value if isinstance(value, str) else 1}"
            for name, value in values.items()
            if value
        )
        return f"/history?{query}" if query else "/history"


def history_page(
    snapshot: dict[str, Any], answers: Sequence[PastAnswer], view: View, *, more: bool
) -> str:
    """`answers`: the newest first; `more`: there are older ones."""
    pages = []
    if view.before:
        pages.append(tag("a", "newest", href=view.address(before="")))
    if more and answers:
        pages.append(tag("a", "older", href=view.address(before=answers[-1].id, live=False)))
    choices = [
        tag("a", "all", href=view.address(marked=False, before=""), class_=_on(not view.marked)),
        tag("a", "marked", href=view.address(marked=True, before=""), class_=_on(view.marked)),
        tag(
            "a",
            "live" if not view.live else f"live: every {LIVE_S} s",
            href=view.address(live=not view.live, before=""),
            class_=_on(view.live),
        ),
    ]
    rows = [_answer(each, view) for each in answers]
    nothing = tag("p", "No answer yet.", class_="note")
    return _page(
        "/history",
        snapshot,
        tag("nav", *choices, class_="choices"),
        tag("ol", *rows, class_="answers") if rows else nothing,
        tag("nav", *pages, class_="choices"),
        refresh_s=LIVE_S if view.live else None,
    )


def updates_page(snapshot: dict[str, Any], cards: Sequence[UpdateCard]) -> str:
    """`cards`: the newest first."""
    rows = [_card(each) for each in cards]
    nothing = tag("p", "No update has come to this device yet.", class_="note")
    return _page("/updates", snapshot, *(rows or [nothing]))


def _page(
    path: str, snapshot: dict[str, Any], *content: Markup, refresh_s: int | None = None
) -> str:
    style = (
        resources.files("driftline_device.page").joinpath("page.css").read_text(encoding="utf-8")
    )
    links = [
        tag("a", title, href=address, class_=_on(address == path))
        for address, title in _TITLES.items()
    ]
    return document(
        f"{_TITLES[path]} · Driftline {snapshot['pair']}",
        style,
        tag("header", tag("nav", *links), tag("p", _state(snapshot), class_="note")),
        tag("main", *content),
        refresh_s=refresh_s,
    )


def _state(snapshot: dict[str, Any]) -> str:
    link = snapshot["link"]
    if not link.get("connected"):
        reach = link.get("last_error") or "no cloud"
    else:
        reach = "in touch with the cloud"
    paused = "paused" if snapshot.get("paused_unix_s") is not None else snapshot["activity"]
    return (
        f"pair {snapshot['pair']}, version {snapshot['version']}, {paused}, {reach};"
        f" {snapshot['num_answered']:,} answered since the start, {snapshot['num_sent']:,} sent;"
        f" {snapshot['bytes_up']:,} bytes up, {snapshot['bytes_down']:,} down"
    )


def _answer(past: PastAnswer, view: View) -> Markup:
    facts = [_when(past.unix_s), past.feed, past.place, f"version {past.version}"]
    if past.uncertainty is not None:
        facts.append(f"uncertainty {past.uncertainty:.3f}")
    facts.append(f"{past.num_bytes:,} bytes for the cloud" if past.sample else "stays here")
    picture = (
        tag("img", src=f"/history/{past.id}.png", alt=past.place, loading="lazy")
        if past.has_picture
        else tag("span", "no picture", class_="none")
    )
    return tag(
        "li",
        tag("div", picture, class_="picture"),
        tag(
            "div",
            tag("p", past.question, class_="question"),
            tag("p", past.answer or "(nothing)", class_="said"),
            *_teacher(past),
            tag("p", " · ".join(facts), class_="note"),
            _word(past),
            _form(past, view),
        ),
        id=past.id,
    )


def _teacher(past: PastAnswer) -> list[Markup]:
    """What the cloud's teacher answered, where it was asked: a second opinion, no mark."""
    if past.teacher_answer is None:
        return []
    sure = "" if past.teacher_confidence is None else f" ({past.teacher_confidence:.0%} sure)"
    said = past.teacher_answer or "(nothing)"
    return [tag("p", f"the cloud's teacher says: {said}{sure}", class_="note")]


def _word(past: PastAnswer) -> Markup:
    if past.right is None:
        return Markup("")
    instead = "" if past.right_answer is None else f", right is {past.right_answer}"
    word = "right" if past.right else f"wrong{instead}"
    return tag("p", f"you said: {word}", class_="mark good" if past.right else "mark bad")


def _form(past: PastAnswer, view: View) -> Markup:
    unmark = []
    if past.right is not None:
        unmark = [tag("button", "take back", name="word", value="unmark", class_="quiet")]
    return tag(
        "form",
        tag("input", type="hidden", name="back", value=view.address()),
        # The first button is the one that Enter in the text presses.
        tag("button", "wrong", name="word", value="wrong"),
        tag("button", "right", name="word", value="right"),
        tag(
            "input",
            name="answer",
            maxlength=1_000,
            placeholder="what is right, if you know",
            aria_label="what is right, if you know",
        ),
        *unmark,
        method="post",
        action=f"/history/{past.id}",
    )


def _card(card: UpdateCard) -> Markup:
    facts = [_when(card.unix_s), *([f"{card.num_bytes:,} bytes"] if card.num_bytes else [])]
    parts = [
        tag("h2", f"Version {card.version}: {card.outcome.replace('_', ' ')}"),
        tag("p", " · ".join(facts), class_="note"),
    ]
    if card.outcome != "applied":
        parts.append(tag("p", _meaning(card.reason), class_="mark bad"))
        if card.detail:
            parts.append(tag("p", card.detail))
    marks = card.marks
    if marks.num:
        before, after = marks.num_right_before / marks.num, marks.num_right / marks.num
        parts.append(
            tag(
                "p",
                f"Of {marks.num} answers that you marked: {before:.0%} right before, "
                f"{after:.0%} after.",
            )
        )
        parts += [_changes("fixed", marks.num_fixed, marks.fixed)]
        parts += [_changes("broken", marks.num_broken, marks.broken)]
    else:
        parts.append(tag("p", "Nothing was marked that it could be held to.", class_="note"))
    return tag("section", *parts, class_="card")


def _changes(word: str, num: int, changes: Sequence[Change]) -> Markup:
    if not num:
        return tag("p", f"Newly {word}: none.", class_="note")
    rows = [
        tag(
            "li",
            tag("img", src=f"/history/{each.id}.png", alt="", loading="lazy"),
            tag(
                "span",
                f"{each.question} ",
                tag("s", each.before),
                f" → {each.after}",
                "" if each.answer is None else f" (you said {each.answer})",
            ),
        )
        for each in changes
    ]
    return join(
        tag("p", f"Newly {word}: {num}, for example"), tag("ul", *rows, class_=f"changes {word}")
    )


def _meaning(reason: str) -> str:
    known = reason in set(Reason)
    return explain(Reason(reason)) if known else reason


def _when(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s).astimezone():%Y-%m-%d %H:%M:%S}"


def _on(chosen: bool) -> str | None:
    return "on" if chosen else None
