"""Forms: signing in, and a button for each order."""

from __future__ import annotations

from collections.abc import Sequence

from driftline_cloud.page.frame import Frame
from driftline_shared.pages.markup import Markup, tag


def orders(frame: Frame, names: Sequence[str], about: str, *, asks_why: bool = False) -> Markup:
    """A button for each order about something; nothing where nobody is signed in."""
    if not frame.word or not names:
        return Markup("")
    fields = [
        tag("input", type="hidden", name=key, value=value)
        for key, value in (("word", frame.word), ("about", about), ("back", frame.address()))
    ]
    if asks_why:
        fields.append(tag("input", name="why", maxlength=200, placeholder="why", aria_label="why"))
    buttons = [tag("button", each, type="submit", name="order", value=each) for each in names]
    return tag("form", *fields, *buttons, method="post", action="/orders", class_="orders")


def enter_page(frame: Frame, *, trouble: str = "") -> str:
    """Where an operator signs in."""
    form = tag(
        "form",
        tag(
            "p",
            tag("label", "Key ", tag("input", name="key", type="password", required="")),
            " in the file ",
            tag("code", "page.key"),
            " of the cloud's state folder",
        ),
        tag(
            "p", tag("label", "Your name ", tag("input", name="name", maxlength=64)), " for the log"
        ),
        tag("p", tag("button", "Sign in", type="submit")),
        method="post",
        action="/enter",
    )
    said = [tag("p", trouble, class_="held")] if trouble else []
    return frame.page("Sign in", *said, form)
