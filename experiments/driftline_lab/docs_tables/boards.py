"""Tables of the world `boards`: token scorers by share."""

from __future__ import annotations

import statistics
from typing import Any

from driftline_lab.docs_tables.page import Page, Rows


def tokens(page: Page) -> Rows:
    """Scorer by share: deciding square kept / teacher right, %, means over domains and seeds."""
    domains = page.result("boards_tokens")["result"]["domains"]
    shares = [float(share) for share in page.result("boards_tokens")["result"]["shares"]]
    return [
        ["scorer", *(f"{100 * share:g} %" for share in shares)],
        *(
            [
                f"`{scorer}`",
                *(
                    f"{_mean(found, 'square_kept')} / {_mean(found, 'teacher_right')}"
                    for share in shares
                    for found in [_rows(domains, scorer, share)]
                ),
            ]
            for scorer in _scorers(domains)
        ),
    ]


def rounds(page: Page, results: str = "boards_tokens") -> Rows:
    """Scorer by share: what one round recovers of one-square questions, %, by domain."""
    found = page.result(results)["result"]
    domains = found["domains"]
    names = list(dict.fromkeys(each["domain"] for each in domains))
    shares = sorted(float(share) for share in found["round_shares"])
    head = [f"{name}, {100 * share:g} %" for name in names for share in shares]
    return [
        ["scorer", *head],
        *(
            [
                f"`{scorer}`",
                *(
                    _by_seed(_rows([d for d in domains if d["domain"] == name], scorer, share))
                    for name in names
                    for share in shares
                ),
            ]
            for scorer in _scorers(domains)
        ),
    ]


def rounds_at_the_ends(page: Page) -> Rows:
    """`rounds` at the other shares, of one seed."""
    return rounds(page, "boards_tokens_ends")


_RECOVERED = "recovered_one_square"


def _scorers(domains: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["scorer"] for each in domains for row in each["rows"]))


def _rows(domains: list[dict[str, Any]], scorer: str, share: float) -> list[dict[str, Any]]:
    return [
        row
        for each in domains
        for row in each["rows"]
        if (row["scorer"], row["share"]) == (scorer, share)
    ]


def _mean(rows: list[dict[str, Any]], name: str) -> str:
    return f"{100 * statistics.mean(row[name] for row in rows):.0f}"


def _by_seed(rows: list[dict[str, Any]]) -> str:
    values = [100 * row[_RECOVERED] for row in rows if _RECOVERED in row]
    return " / ".join(f"{value:.0f}" for value in values) or "not run"
