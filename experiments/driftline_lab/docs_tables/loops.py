"""Tables of whole demos over several seeds: accuracy, and bytes up and down."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from driftline_lab.docs_tables.page import Page, Rows
from driftline_lab.intervals import summary
from driftline_lab.recovered import row_recovered

_BY_RUNTIME = {"PyTorch, nf4": "smol_torch", "export, int8": "smol_dense"}

_SMOL_RECIPES = {
    "15 % of the weights, 60 steps": "smol_dense",
    "2.5 %, 100 steps, as the pair names them": "smol",
    "the same, updates with all that changed": "smol_floor",
}

_DOMAINS = {
    "lineart-seen": "line art, seen concepts",
    "lineart-unseen": "line art, unseen concepts",
}


def accuracy(page: Page) -> Rows:
    """The pair `tiny`: each domain before and after, means over the seeds; the share recovered."""
    return _accuracy(page.result("loop")["result"], "source")


def others(page: Page) -> Rows:
    """The pair `tiny` on two drifts that the demo does not show."""
    return _accuracy(page.result("loop_fog_texture")["result"], "source")


def confident(page: Page) -> Rows:
    """The pair `tiny` on two drifts under which it is sure and wrong."""
    return _accuracy(page.result("loop_inverted_reworded")["result"], "source")


def returns(page: Page) -> Rows:
    """The pair `tiny` on six segments with returns to the source and to a drift."""
    return _accuracy(page.result("loop_returns")["result"], "source")


def smol_accuracy(page: Page) -> Rows:
    """The pair `smol`, the same."""
    return _accuracy(page.result("smol")["result"], "colour (source)")


def smol_longer(page: Page) -> Rows:
    """The pair `smol` in rounds of 130 steps."""
    return _accuracy(page.result("smol_longer")["result"], "colour (source)")


def traffic(page: Page) -> Rows:
    """The pair `tiny`: what went up and down, and what packing cost."""
    packed = page.result("dwc")["result"]
    return [
        *_traffic(page.result("loop")["result"]),
        [
            "gain that updates of an older form, 14.7 KB, kept of their uncompressed candidates'",
            f"{100 * packed['kept']:.0f} % ({packed['num_updates']} updates, "
            f"both drifts' test sets, {page.link('dwc')})",
        ],
    ]


def smol_traffic(page: Page) -> Rows:
    """The pair `smol`: what went up and down."""
    return _traffic(page.result("smol")["result"])


def smol_runtimes(page: Page) -> Rows:
    """The pair `smol` on a device with PyTorch, and as an export: seed 0."""
    documents = {
        title: page.result(name)["result"]["documents"][0] for title, name in _BY_RUNTIME.items()
    }
    return [
        ["", *documents],
        *(
            [
                f"recovered, {title}",
                *(
                    f"{100 * row_recovered(one['accuracy'][name]):.0f} %"
                    for one in documents.values()
                ),
            ]
            for name, title in _DOMAINS.items()
        ),
        ["source, before and after", *(_there_and_back(one) for one in documents.values())],
        [
            "bytes per update",
            *(f"{one['downlink']['bytes_per_update']:,.0f}" for one in documents.values()),
        ],
    ]


def smol_dense(page: Page) -> Rows:
    """The pair `smol` as it learned before it named a share of the weights: five seeds."""
    return _accuracy(page.result("smol_dense")["result"], "colour (source)")


def smol_recipes(page: Page) -> Rows:
    """The pair `smol`, the seeds that every recipe was run with: what fewer weights change."""
    results = {title: page.result(name)["result"] for title, name in _SMOL_RECIPES.items()}
    common = set.intersection(*(set(result["seeds"]) for result in results.values()))
    rows = [["trained to the end", *_DOMAINS.values(), "source", "bytes per update"]]
    for title, result in results.items():
        documents = [one for one in result["documents"] if one["seed"] in common]
        rows.append(
            [
                title,
                *(
                    f"{_each(100 * row_recovered(one['accuracy'][name]) for one in documents)} %"
                    for name in _DOMAINS
                ),
                "; ".join(_there_and_back(one) for one in documents),
                " / ".join(
                    f"{update['bytes']:,}" for one in documents for update in one["updates_made"]
                ),
            ]
        )
    return rows


def _each(values: Iterable[float]) -> str:
    return " / ".join(f"{value:.0f}" for value in values)


def _there_and_back(document: dict[str, Any]) -> str:
    source = document["accuracy"]["source"]
    return f"{100 * source['before']:.1f}, {100 * source['after']:.1f} %"


def _accuracy(result: dict[str, Any], source: str) -> list[list[str]]:
    documents = result["documents"]
    seeds = ", ".join(str(seed) for seed in result["seeds"])
    rows = [
        [
            "domain",
            "before, %",
            "after, %",
            "teacher, %",
            f"recovered, % ({'seeds' if len(documents) > 1 else 'seed'} {seeds})",
            "mean, its 95 % interval",
            "worst seed",
        ]
    ]
    for domain in documents[0]["accuracy"]:
        found = [document["accuracy"][domain] for document in documents]
        cells = [_mean([row[name] for row in found]) for name in ("before", "after", "teacher")]
        name = source if domain == "source" else _DOMAINS.get(domain, domain)
        shares = (
            ["", "", ""] if domain == "source" else _shares([row_recovered(row) for row in found])
        )
        rows.append([name, *cells, *shares])
    return rows


def _shares(by_seed: list[float]) -> list[str]:
    found = summary(by_seed)
    if len(by_seed) == 1:
        return [_slashed(by_seed), f"**{100 * found.mean:.0f} %**, of one seed", ""]
    return [
        _slashed(by_seed),
        f"**{100 * found.mean:.0f} %**, {100 * found.low:.0f} to {100 * found.high:.0f}",
        f"{100 * found.min:.0f} %",
    ]


def _traffic(result: dict[str, Any]) -> list[list[str]]:
    documents = result["documents"]
    by_seed = [_recovered_mean(document["accuracy"]) for document in documents]
    all_seeds = summary(by_seed)
    sample, update = result["bytes_per_sample"]["mean"], result["bytes_per_update"]["mean"]
    of_tokens = result["bytes_per_sample_of_fp16_tokens"]["mean"]
    jpeg = statistics.mean(d["uplink"]["jpeg90_bytes_per_sample"] for d in documents)
    model = statistics.mean(d["downlink"]["fp16_model_bytes"] for d in documents)
    return [
        ["", ""],
        [
            "recovered, mean of both drifts, by seed",
            f"{_slashed(by_seed)} %"
            + (
                f"; mean {100 * all_seeds.mean:.0f} %, its 95 % interval "
                f"{100 * all_seeds.low:.0f} to {100 * all_seeds.high:.0f}, "
                f"worst {100 * all_seeds.min:.0f}"
                if len(by_seed) > 1
                else ""
            ),
        ],
        ["samples sent of seen", f"{100 * result['uplink_share']['mean']:.1f} %"],
        [
            "bytes per sample",
            f"{sample:,.0f} ({100 * of_tokens:.0f} % of all its tokens in fp16; the picture as "
            f"JPEG-90: {jpeg:,.0f})",
        ],
        [
            "bytes per update, manifest included",
            f"{update:,.0f}: {100 * result['bytes_per_update_of_fp16_adapter']['mean']:.1f} % of "
            f"the fp16 adapter, {100 * update / model:.2f} % of the fp16 model",
        ],
        [
            "seconds of the loop (longer where other work ran beside it)",
            " to ".join(
                f"{seconds:,.0f}"
                for seconds in sorted({result["seconds"]["min"], result["seconds"]["max"]})
            ),
        ],
    ]


def _recovered_mean(by_domain: dict[str, dict[str, float]]) -> float:
    return statistics.mean(
        row_recovered(row) for name, row in by_domain.items() if name != "source"
    )


def _slashed(shares: list[float]) -> str:
    return " / ".join(f"{100 * share:.0f}" for share in shares)


def _mean(values: list[float]) -> str:
    found = summary(values)
    half = f" ± {100 * found.half:.1f}" if len(values) > 1 else ""
    return f"{100 * found.mean:.1f}{half}"
