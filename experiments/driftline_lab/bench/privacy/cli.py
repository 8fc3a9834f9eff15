"""The bench of what tokens tell, as a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from driftline_lab.bench.options import Out, Seeds
from driftline_lab.bench.report import finish
from driftline_lab.lists import seeds_of


def privacy(
    seeds: Seeds = "0",
    drift: Annotated[str, typer.Option(help="The drift that is shown, too.")] = "night",
    pictures: Annotated[
        int, typer.Option(help="Source pictures that the inverter learns from.", min=64)
    ] = 1_000,
    tests: Annotated[int, typer.Option(help="Pictures of a domain it is shown.", min=16)] = 200,
    steps: Annotated[int, typer.Option(help="Of its training.", min=1)] = 500,
    kept: Annotated[
        Path | None, typer.Option(help="A file of rows: those in it are done, others are added.")
    ] = None,
    out: Out = None,
) -> None:
    """What uploaded tokens tell: an inverter's PSNR and attributes, by codec, share and noise.

    Example: driftline lab bench privacy --pictures 500 --kept rows.jsonl
    """
    from driftline_lab.bench.privacy.run import PrivacyPlan, run_privacy

    plan = PrivacyPlan(
        drift=drift, pictures=pictures, tests=tests, steps=steps, seeds=seeds_of(seeds)
    )
    finish(run_privacy(plan, lambda text: typer.echo(text, err=True), kept), out)
