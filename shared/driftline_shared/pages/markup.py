"""HTML and SVG as text that is safe by default: what is not markup already is escaped."""

from __future__ import annotations

import html

VOID = frozenset({"meta", "img", "br", "input", "link"})
"""Elements without an end tag."""


class Markup(str):
    """Text that is markup; only `tag`, `join` and files of ours make it."""

    __slots__ = ()


def tag(name: str, /, *children: str | Markup, **attributes: object) -> Markup:
    """One element. `class_` is `class`, `stroke_width` is `stroke-width`; None leaves one out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str | Markup) -> Markup:
    """Children one after another, each escaped unless it is markup."""
    return Markup(
        "".join(each if isinstance(each, Markup) else html.escape(each) for each in children)
    )


def _text(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
