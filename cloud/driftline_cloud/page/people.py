"""The page of who may speak to the cloud, who asks to, and who may no more."""

from __future__ import annotations

from collections.abc import Sequence

from driftline_cloud.page.frame import Cell, Frame, paged, said, table
from driftline_cloud.page.orders.forms import orders
from driftline_cloud.page.text import when
from driftline_cloud.page.values import Asked
from driftline_cloud.trust.issuer import Role
from driftline_cloud.trust.members import Member, State
from driftline_shared.pages.markup import Markup, join, tag

_CLASS = {State.PENDING: "bad", State.ACCEPTED: "good", State.REVOKED: ""}


def members_page(frame: Frame, total: int, members: Sequence[Member], asked: Asked) -> str:
    """Members, those first who wait to be let in."""
    rows: list[list[Cell]] = [
        [
            tag("code", said(one.identity)),
            said(one.label),
            str(one.role),
            (str(one.state), _CLASS[one.state]),
            (when(one.added_unix_s), "time"),
            (when(one.not_after_unix_s) if one.not_after_unix_s else "", "time"),
            _orders(frame, one),
        ]
        for one in members
    ]
    heads = ("identity", "label", "role", "state", "asked (UTC)", "certificate until (UTC)", "")
    nothing = "Nobody: a cloud without an authority (driftline cloud init) lets in whoever calls."
    return frame.page(
        "Members",
        tag(
            "p",
            "An identity is the digest of a key: compare it with what the device itself says "
            "(driftline device doctor) before you let it in.",
            class_="note",
        ),
        table(heads, rows, nothing=nothing),
        paged(frame, asked.offset, asked.limit, len(members), total),
    )


def _orders(frame: Frame, one: Member) -> Markup:
    accept = ["accept"] if one.state is not State.ACCEPTED else []
    revoke = ["revoke"] if one.state is not State.REVOKED else []
    # In forms of their own: a tick that warns of one is not asked for the other.
    warns = "whose commands the cloud will refuse" if one.role is Role.OPERATOR else ""
    return join(
        orders(frame, accept, one.identity), orders(frame, revoke, one.identity, warns=warns)
    )
