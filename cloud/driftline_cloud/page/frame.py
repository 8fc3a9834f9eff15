"""What every page has: its heading, links, tables and ways to the next rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from urllib.parse import quote, urlencode

from driftline_cloud.page.text import when
from driftline_shared.pages.document import document
from driftline_shared.pages.markup import Markup, tag
from driftline_shared.plain_text import visible

TITLES = {
    "/": "Lines",
    "/rounds": "Rounds",
    "/versions": "Versions",
    "/devices": "Devices",
    "/quarantine": "Quarantine",
    "/corrections": "Corrections",
    "/members": "Members",
    "/log": "Log",
}

Cell = str | Markup | tuple[str | Markup, str]
"""What a table's cell holds; with a class where that is a pair."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One page: its path, what is asked of it (`query`), the moment it was read (`now_s`).

    `refresh_s`: it loads itself again; None: it stays. `live_s`: what that is when it does.
    `orders`: whether orders may be given here at all; `signs`: whether one may sign in. `who` is
    signed in and its forms say `word`, or nobody is and both are empty; `may_order`: they may.
    """

    path: str
    cloud_id: str
    now_s: float
    query: Mapping[str, str] = field(default_factory=dict)
    refresh_s: int | None = None
    live_s: int = 10
    orders: bool = False
    signs: bool = False
    who: str = ""
    word: str = ""
    may_order: bool = False

    def address(self, **changes: object) -> str:
        """The page's own address with `changes` of its query."""
        return to(self.path, **{**self.query, **changes})

    def page(self, title: str, *content: Markup) -> str:
        """The whole page."""
        style = (
            resources.files("driftline_cloud.page").joinpath("page.css").read_text(encoding="utf-8")
        )
        home = f"/{self.path.split('/')[1]}"
        links = [
            tag("a", each, href=address, class_="on" if address == home else None)
            for address, each in TITLES.items()
        ]
        live = self.refresh_s is not None
        said = f"live: every {self.live_s} s" if live else "live"
        choices = [
            tag("a", said, href=self.address(live="" if live else 1), class_=_on(live)),
            tag("a", "JSON", href=self.address(live="", format="json")),
        ]
        return document(
            f"{title} · Driftline",
            style,
            tag(
                "header",
                tag("nav", *links),
                tag(
                    "p",
                    f"cloud {visible(self.cloud_id)[:12]}, as its database was at "
                    f"{when(self.now_s)} UTC"
                    + ("" if self.orders else "; nothing here changes it"),
                    class_="note",
                ),
                tag("nav", *choices, *self._signed(), class_="choices"),
            ),
            tag("main", tag("h1", title), *content),
            refresh_s=self.refresh_s,
        )

    def _signed(self) -> list[Markup]:
        """Who is signed in, and the way out; or the way in."""
        if not self.signs:
            return []
        if not self.word:
            return [tag("a", "sign in", href="/enter")]
        word = tag("input", type="hidden", name="word", value=self.word)
        button = tag("button", "sign out", type="submit")
        who = tag("span", said(self.who), class_="note")
        return [who, tag("form", word, button, method="post", action="/leave")]


def to(path: str, **query: object) -> str:
    """An address of ours; what is empty is left out."""
    written = urlencode({key: str(value) for key, value in query.items() if value})
    return quote(path) + (f"?{written}" if written else "")


def said(text: str) -> str:
    """Text of others, with what is not to be seen spelled out."""
    return visible(text)


def table(heads: Sequence[str], rows: Sequence[Sequence[Cell]], *, nothing: str) -> Markup:
    """Rows under `heads`; a head that ends with ` #` is of numbers. `nothing`: where there are
    none.
    """
    if not rows:
        return tag("p", nothing, class_="note")
    right = [head.endswith(" #") for head in heads]
    names = [
        tag("th", head.removesuffix(" #"), class_="number" if is_number else None)
        for head, is_number in zip(heads, right, strict=True)
    ]
    body = [
        tag("tr", *(_cell(cell, is_number) for cell, is_number in zip(row, right, strict=True)))
        for row in rows
    ]
    whole = tag("table", tag("thead", tag("tr", *names)), tag("tbody", *body))
    return tag("div", whole, class_="wide")


def facts(*pairs: tuple[str, str]) -> Markup:
    """Numbers with what they are."""
    return tag(
        "div",
        *(tag("div", tag("b", said(value)), tag("span", name)) for name, value in pairs),
        class_="facts",
    )


def paged(frame: Frame, offset: int, limit: int, num_shown: int, total: int | None) -> Markup:
    """Ways to the rows before and after; `total`: None where nobody counted."""
    ways: list[Markup] = []
    if offset:
        ways.append(tag("a", "before", href=frame.address(offset=max(0, offset - limit))))
    more = num_shown == limit if total is None else offset + num_shown < total
    if more:
        ways.append(tag("a", "next", href=frame.address(offset=offset + limit)))
    of = "" if total is None else f" of {total:,}"
    shown = f"{offset + 1:,} to {offset + num_shown:,}{of}" if num_shown else ""
    return tag("nav", *ways, tag("span", shown, class_="note"), class_="choices")


def lines_choice(frame: Frame, lines: Sequence[str], chosen: str, *, every: bool) -> Markup:
    """One link a line; `every`: and one to all of them."""
    if len(lines) < 2:
        return Markup("")
    links = [
        tag("a", said(line), href=frame.address(line=line, offset=""), class_=_on(line == chosen))
        for line in lines
    ]
    if every:
        all_ = tag("a", "all lines", href=frame.address(line="", offset=""), class_=_on(not chosen))
        links.insert(0, all_)
    return tag("nav", *links, class_="choices")


def held(sentences: Sequence[str]) -> list[Markup]:
    """What keeps something from going on."""
    return [tag("p", said(each), class_="held") for each in sentences]


def _cell(cell: Cell, is_number: bool) -> Markup:
    content, kind = cell if isinstance(cell, tuple) else (cell, "number" if is_number else "")
    return tag("td", content if isinstance(content, Markup) else said(content), class_=kind or None)


def _on(chosen: bool) -> str | None:
    return "on" if chosen else None
