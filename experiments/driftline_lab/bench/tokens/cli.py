"""The bench of how few tokens are enough, as a command."""

from __future__ import annotations

from typing import Annotated

import typer

from driftline_lab.bench.options import Out
from driftline_lab.bench.report import finish


def share(
    domains: Annotated[str, typer.Option(help="Domains, comma-separated.")] = "night,sketch",
    questions: Annotated[int, typer.Option(help="Stream questions of each domain.")] = 300,
    out: Out = None,
) -> None:
    """Sweep the share of tokens that leave: teacher accuracy and bytes a sample, by token scorer.

    Example: driftline lab bench share --domains night,fog
    """
    from driftline_lab.bench.device.share import run_share

    finish(run_share(domains.split(","), questions), out)
