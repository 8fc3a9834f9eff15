"""Reads a page of ours as a browser would: its elements, addresses and text."""

from __future__ import annotations

from html.parser import HTMLParser

from driftline_shared.pages.markup import VOID


class Reader(HTMLParser):
    """Elements and text of a page; every end tag closes the element that is open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.addresses: list[str] = []
        self.values: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        self.values += [value or "" for name, value in attrs if name == "value"]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.texts)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
