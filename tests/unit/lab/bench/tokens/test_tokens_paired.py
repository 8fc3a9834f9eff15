"""The default scorer beside the others: only seeds that both have are compared."""

from __future__ import annotations

from typing import Any

import pytest

from driftline_lab.bench.tokens.paired import compare


def domain(name: str, seed: int, **recovered: float | None) -> dict[str, Any]:
    rows = [
        {"scorer": scorer, "share": 0.1} | ({} if value is None else {"recovered_all": value})
        for scorer, value in recovered.items()
    ]
    return {"domain": name, "seed": seed, "rows": rows}


def test_seeds_are_paired_and_domains_apart() -> None:
    found = compare(
        [
            domain("ada", 0, ours=0.6, random=0.2),
            domain("ada", 1, ours=0.5, random=0.3),
            domain("ada", 2, ours=0.7, random=None),
            domain("tomato", 0, ours=0.4, random=0.5),
        ],
        ours="ours",
    )
    ada, tomato = found
    assert (ada["domain"], ada["share"], ada["scorer"], ada["seeds"]) == (
        "ada",
        0.1,
        "random",
        [0, 1],
    )
    assert (ada["ours"], ada["worst"], ada["theirs"]) == pytest.approx((0.55, 0.5, 0.25))
    # Differences 0.4 and 0.2: t = 0.3 / (0.1414 / sqrt(2)) = 3 with one degree of freedom.
    assert (ada["difference"], ada["p"]) == pytest.approx((0.3, 0.2048), abs=1e-4)
    assert (tomato["difference"], tomato["low"], tomato["p"]) == (pytest.approx(-0.1), None, 1.0)


def test_without_rounds_there_is_nothing_to_compare() -> None:
    assert compare([domain("ada", 0, ours=None, random=None)], ours="ours") == []
