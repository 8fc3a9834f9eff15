"""Forms: signing in, and a button for each order."""

from __future__ import annotations

from collections.abc import Sequence

from driftline_cloud.page.frame import Frame
from driftline_cloud.page.orders.key import NAMES
from driftline_cloud.trust.issuer import Role
from driftline_shared.pages.markup import Markup, tag


def orders(
    frame: Frame, names: Sequence[str], about: str, *, asks_why: bool = False, warns: str = ""
) -> Markup:
    """A button for each order about something; nothing where nobody is signed in
    who may give them. `warns`: what has to be ticked first.
    """
    if not frame.may_order or not names:
        return Markup("")
    fields = [
        tag("input", type="hidden", name=key, value=value)
        for key, value in (("word", frame.word), ("about", about), ("back", frame.address()))
    ]
    if asks_why:
        fields.append(tag("input", name="why", maxlength=200, placeholder="why", aria_label="why"))
    if warns:
        tick = tag("input", type="checkbox", name="sure", value="yes", required="")
        fields.append(tag("label", tick, f" {warns}"))
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
            tag("code", NAMES[Role.OPERATOR]),
            " of the cloud's state folder; who may look and give no orders has that in ",
            tag("code", NAMES[Role.READER]),
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
