"""A whole page as text, and what a browser is told about it: nothing from elsewhere, no script."""

from __future__ import annotations

from driftline_shared.pages.markup import Markup, tag

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
"""Content security policy: what slipped through the escaping could not run or be fetched."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every reply that a browser may show."""


def document(title: str, style: str, *content: Markup, refresh_s: int | None = None) -> str:
    """A page of `content` with its own style sheet; `refresh_s`: it loads itself again."""
    refresh = [] if refresh_s is None else [tag("meta", http_equiv="refresh", content=refresh_s)]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        *refresh,
        tag("link", rel="icon", href="data:,"),  # else every browser asks for one
        tag("title", title),
        tag("style", Markup(style)),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', *content), lang='en')}\n"
