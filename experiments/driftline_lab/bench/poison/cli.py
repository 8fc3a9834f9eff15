"""The bench of hostile devices, as a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from driftline_lab.bench.options import Out, Seeds
from driftline_lab.bench.report import finish
from driftline_lab.lists import numbers_of, seeds_of


def poison(
    seeds: Seeds = "0,1,2",
    drift: Annotated[str, typer.Option(help="The drift of all devices.")] = "night",
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    levels: Annotated[
        str, typer.Option(help="Hostile shares of the fleet, comma-separated.")
    ] = "0.01,0.05,0.2",
    attacks: Annotated[
        str, typer.Option(help="Attacks, separated by semicolons; by default all.")
    ] = "",
    arms: Annotated[
        str, typer.Option(help="What is held against them, separated by semicolons.")
    ] = "nothing;both",
    tests: Annotated[int, typer.Option(help="Test questions of a set.", min=16)] = 300,
    kept: Annotated[
        Path | None, typer.Option(help="A file of rows: those in it are done, others are added.")
    ] = None,
    out: Out = None,
) -> None:
    """Hostile devices flood, flip a class, hide a trigger: a round with and without the screen.

    Example: driftline lab bench poison --seeds 0 --levels 0.2 --kept rows.jsonl
    """
    from driftline_lab.bench.poison.run import PoisonPlan, run_poison

    plan = PoisonPlan(
        pair=pair,
        drift=drift,
        levels=numbers_of("--levels", levels, above=0, most=1),
        tests=tests,
        arms=tuple(arms.split(";")),
        seeds=seeds_of(seeds),
    )
    if attacks:
        plan = plan.with_attacks(tuple(attacks.split(";")))
    finish(run_poison(plan, lambda text: typer.echo(text, err=True), kept), out)
