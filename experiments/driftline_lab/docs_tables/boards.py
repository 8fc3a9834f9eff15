"""Token scorers by share: tables of `boards`, and of easy-vqa."""

from __future__ import annotations

import statistics
from typing import Any

from driftline_lab.docs_tables.page import Page, Rows


def tokens(page: Page, results: str = "boards_tokens") -> Rows:
    """Scorer by share: deciding square kept / teacher right, %, means over domains and seeds."""
    found = page.result(results)["result"]
    domains = found["domains"]
    shares = [float(share) for share in found["shares"]]
    return [
        ["scorer", *(f"{100 * share:g} %" for share in shares)],
        *(
            [
                f"`{scorer}`",
                *(
                    f"{_mean(rows, 'square_kept')} / {_mean(rows, 'teacher_right')}"
                    for share in shares
                    for rows in [_rows(domains, scorer, share)]
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


def tokens_by_question(page: Page) -> Rows:
    """`tokens` of question_attention."""
    return tokens(page, "boards_tokens_question")


def rounds_by_question(page: Page) -> Rows:
    """`rounds` where question_attention had one, beside the other scorers."""
    return rounds(page, "boards_rounds_question")


def rounds_over_seeds(page: Page) -> Rows:
    """What a round recovers by the default scorer, and how much more than by another one."""
    found = page.result("boards_rounds")["result"]
    others = list(dict.fromkeys(row["scorer"] for row in found["paired"]))
    places = dict.fromkeys((row["domain"], row["share"]) for row in found["paired"])
    return [
        [
            "tokens",
            f"`{found['scorers'][0]}`: mean (worst seed)",
            *(f"{text} `{other}`" for other in others for text in ("more than", "p,")),
        ],
        *(
            [
                f"{domain}, {100 * share:g} %",
                *_ahead([r for r in found["paired"] if (r["domain"], r["share"]) == place]),
            ]
            for place in places
            for domain, share in [place]
        ),
    ]


def _ahead(rows: list[dict[str, Any]]) -> list[str]:
    """One place's cells; its rows are in the order of the other scorers."""
    cells = [f"**{100 * rows[0]['ours']:.0f}** ({100 * rows[0]['worst']:.0f})"]
    for row in rows:
        interval = (
            "" if row["low"] is None else f", {100 * row['low']:.0f} to {100 * row['high']:.0f}"
        )
        cells += [f"{100 * row['difference']:+.0f}{interval}", f"{row['p']:.2g}"]
    return cells


def easyvqa_labels(page: Page) -> Rows:
    """On easy-vqa: how often the teacher is right on the kept tokens, %, by domain and share."""
    found = page.result("easyvqa_tokens")["result"]
    domains, shares = found["domains"], [float(share) for share in found["shares"]]
    head = [f"{each['domain']}, {100 * share:g} %" for each in domains for share in shares]
    return [
        ["scorer", *head],
        *(
            [
                f"`{scorer}`",
                *(
                    _mean(_rows([each], scorer, share), "teacher_right")
                    for each in domains
                    for share in shares
                ),
            ]
            for scorer in _scorers(domains)
        ),
    ]


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
