"""The bench of asking the teacher, as a command."""

from __future__ import annotations

from typing import Annotated

import typer

from driftline_lab.bench.options import Out, Seeds
from driftline_lab.bench.report import finish
from driftline_lab.lists import names_of, seeds_of


def escalate(
    seeds: Seeds = "0,1,2",
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    domains: Annotated[str, typer.Option(help="Domains, comma-separated.")] = "night,sketch",
    questions: Annotated[int, typer.Option(help="Stream questions of a domain.", min=10)] = 100,
    wait_ms: Annotated[int, typer.Option(help="A client's wait for the teacher.", min=1)] = 2000,
    out: Out = None,
) -> None:
    """Ask the teacher never, when uncertain, always: accuracy, bytes, seconds to a correction.

    Example: driftline lab bench escalate --domains night --seeds 0
    """
    from driftline_lab.bench.escalation.run import Plan, run_escalation
    from driftline_lab.data.corrupted import ALL_DOMAINS

    plan = Plan(
        pair=pair,
        domains=names_of("--domains", domains, ALL_DOMAINS),
        seeds=seeds_of(seeds),
        questions=questions,
        wait_ms=wait_ms,
    )
    finish(run_escalation(plan, lambda text: typer.echo(text, err=True)), out)
