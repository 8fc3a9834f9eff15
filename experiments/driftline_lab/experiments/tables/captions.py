"""Captioning: names met, CIDEr and BLEU of generated captions, on worlds that ask for some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from driftline_lab.data.openmoji.captions import CaptionScores
from driftline_lab.experiments.captions import Captions
from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.result import Result
from driftline_lab.experiments.tables import accuracy
from driftline_lab.experiments.tables.scale import Scale
from driftline_lab.experiments.tables.showing import HOW, grid, spread_text
from driftline_lab.experiments.tables.statistics import spread
from driftline_lab.experiments.tables.table import Arm, Table, results

SHOWN = ("driftline", "source-only", "logit-kd", "full-upload", "random-tokens")
BLEU_ORDER = 2
"""Most captions have two words or three, and no longer n-gram."""


def arms(scale: Scale) -> list[Arm]:
    """Runs of the first table; none where the world asks for no captions."""
    if not scale.plan.data.has_captions:
        return []
    return [each for each in accuracy.arms(scale) if each.label in SHOWN]


def measure(lab: Lab, scale: Scale) -> dict[str, Any]:
    """By domain, at the end of the stream: the teacher, and a row an arm."""
    found = results(lab, arms(scale))
    world = scale.plan.data.name
    if not found:
        return {"world": world, "domains": [], "rows": []}
    first = found[0][1]
    names = sorted({name for run in first for name in run.teacher_captions})
    return {
        "world": world,
        "domains": [_domain(name, [run.teacher_captions for run in first]) for name in names],
        "rows": [
            {"baseline": each.label, "by_domain": {n: _row(n, runs) for n in names}}
            for each, runs in found
        ],
    }


def _domain(name: str, by_seed: Iterable[Captions]) -> dict[str, Any]:
    """How many captions, the teacher's scores, and the CIDEr of the right ones themselves."""
    known = [each[name] for each in by_seed if name in each]
    return {
        "name": name,
        "num_captions": spread([float(each.num_captions) for each in known]),
        "cider_best": spread([each.cider_best for each in known]),
        "teacher": scores(known),
    }


def _row(name: str, runs: Sequence[Result]) -> dict[str, Any]:
    """An arm's scores at the end, and by how much more captions name the thing than at the start;
    over the seeds whose test sets of the domain ask for captions.
    """
    known = [
        (run.first.captions[name], run.last.captions[name])
        for run in runs
        if name in run.last.captions
    ]
    gained = [after.name_match - before.name_match for before, after in known]
    return {**scores([after for _, after in known]), "gained": spread(gained)}


def scores(found: Sequence[CaptionScores]) -> dict[str, Any]:
    """Each measure over seeds."""
    return {
        "name_match": spread([each.name_match for each in found]),
        "cider": spread([each.cider for each in found]),
        "bleu": spread([bleu(each) for each in found]),
    }


def bleu(found: CaptionScores) -> float:
    """BLEU-2, or of the longest n-gram that the captions have."""
    return found.bleu[:BLEU_ORDER][-1]


def text(result: dict[str, Any]) -> list[str]:
    """A part a domain, the teacher above."""
    if not result["domains"]:
        return [f"The world `{result['world']}` asks for no captions: there is none to score."]
    lines = [
        HOW,
        "Names: captions that name the thing, their article aside; gained: points since the start "
        "of the stream. CIDEr is not one scale: it weighs words by the pictures of the test set.",
    ]
    head = ["", "names, %", "gained, points", "CIDEr", f"BLEU-{BLEU_ORDER}, %"]
    for domain in result["domains"]:
        name, best = domain["name"], domain["cider_best"]
        rows = [
            ["right captions", "100.0", "", spread_text(best, scale=1, digits=2), "100.0"],
            _cells("teacher", domain["teacher"], ""),
            *(
                _cells(row["baseline"], mine, spread_text(mine["gained"]))
                for row in result["rows"]
                for mine in [row["by_domain"][name]]
            ),
        ]
        about = f"{domain['num_captions']['mean']:.0f} captions a seed."
        lines += ["", f"## {name}", "", about, "", *grid(head, rows)]
    return lines


def _cells(label: str, mine: dict[str, Any], gained: str) -> list[str]:
    return [
        label,
        spread_text(mine["name_match"]),
        gained,
        spread_text(mine["cider"], scale=1, digits=2),
        spread_text(mine["bleu"]),
    ]


def draw(result: dict[str, Any], figure: Any) -> None:
    """Names met by domain, a group of bars for the teacher and each arm."""
    domains = result["domains"]
    if not domains:
        figure.text(0.5, 0.5, "no captions", ha="center", va="center", fontsize=20, color="0.5")
        return
    axes = figure.add_subplot()
    bars: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
        ("teacher", lambda domain: domain["teacher"]),
        *(
            (row["baseline"], lambda domain, row=row: row["by_domain"][domain["name"]])
            for row in result["rows"]
        ),
    ]
    width = 0.8 / len(bars)
    for number, (label, of) in enumerate(bars):
        axes.bar(
            [place + number * width for place in range(len(domains))],
            [100 * of(domain)["name_match"]["mean"] for domain in domains],
            yerr=[100 * of(domain)["name_match"]["interval"] for domain in domains],
            width=width,
            label=label,
            color="0.6" if label == "teacher" else None,
        )
    axes.set_xticks(
        [place + 0.4 - width / 2 for place in range(len(domains))],
        [domain["name"] for domain in domains],
    )
    axes.set_ylabel("captions that name the thing, %")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)


CAPTIONS = Table(
    name="captions",
    title="Captioning",
    arms=arms,
    measure=measure,
    text=text,
    draw=draw,
)
