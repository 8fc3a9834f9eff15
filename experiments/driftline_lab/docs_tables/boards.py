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


def rounds_over_seeds(page: Page) -> Rows:
    """What a round recovers by the default scorer, and how much more than by another one."""
    found = [page.result(name)["result"] for name in ("boards_rounds", "boards_rounds_tomato")]
    rows = [row for each in found for row in each["paired"]]
    others = list(dict.fromkeys(row["scorer"] for row in rows))
    return [
        [
            "tokens",
            f"`{found[0]['scorers'][0]}`: mean (worst)",
            *(text for other in others for text in (f"ahead of `{other}`", "p")),
        ],
        *(
            [f"{domain}, {100 * share:g} %", *_ahead(rows, domain, share, others)]
            for domain, share in dict.fromkeys((row["domain"], row["share"]) for row in rows)
        ),
    ]


def _ahead(rows: list[dict[str, Any]], domain: str, share: float, others: list[str]) -> list[str]:
    by_other = {
        row["scorer"]: row for row in rows if (row["domain"], row["share"]) == (domain, share)
    }
    first = by_other[others[0]]
    cells = [f"**{100 * first['ours']:.0f}** ({100 * first['worst']:.0f})"]
    for row in (by_other[other] for other in others):
        interval = f", {100 * row['low']:.0f} to {100 * row['high']:.0f}"
        cells += [f"{100 * row['difference']:.0f}{interval}", f"{row['p']:.2g}"]
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
