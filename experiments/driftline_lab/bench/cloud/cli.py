"""Benches of the cloud's rounds: the gate, and rounds over a replayed trace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from driftline_lab.bench.options import Out, Seeds
from driftline_lab.bench.report import finish
from driftline_lab.seeds import seeds_of


def gate(
    seeds: Seeds = "0,1,2,3,4,5,6,7,8,9",
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    segments: Annotated[
        str, typer.Option(help="Domains of the stream; by default the drifts of the demo.")
    ] = "",
    questions: Annotated[int, typer.Option(help="Stream questions of a segment.", min=30)] = 600,
    tests: Annotated[int, typer.Option(help="Test questions of a domain.", min=16)] = 500,
    documents: Annotated[
        list[Path] | None,
        typer.Option("--document", help="Put together results of other seeds; repeat."),
    ] = None,
    out: Out = None,
) -> None:
    """The gate's operating curve: chance of release by true gain, on ten candidates a round.

    Example: driftline lab bench gate --seeds 0,1 --out gate.json
    """
    from driftline_lab.bench.cloud.gate import join, run_gate
    from driftline_lab.data.domains import SOURCE
    from driftline_lab.experiments.plan import Plan

    if documents:
        finish(join(documents), out)
        return
    plan = Plan(pair=pair, questions=questions, tests=tests)
    names = plan.data.domains_of(segments or None)
    drifts = tuple(name for name in names if segments or name != SOURCE)
    plan = plan.model_copy(update={"segments": drifts})
    finish(run_gate(plan, seeds_of(seeds), lambda text: typer.echo(text, err=True)), out)


def replay(
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    samples: Annotated[int, typer.Option(help="Samples of the trace.", min=30)] = 10_000,
    rate: Annotated[float, typer.Option(help="Answers a second, in the trace.")] = 2.0,
    link: Annotated[str, typer.Option(help="Link profile.")] = "lte",
    processes: Annotated[
        bool, typer.Option("--processes", help="Also replay once as two processes.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of results to keep; by default none is kept.")
    ] = None,
    out: Out = None,
) -> None:
    """Replay a made trace twice: times real time, memory along the way, equality of the metrics.

    Example: driftline lab bench replay --samples 1000
    """
    from driftline_lab.bench.cloud.replay import run_replay_bench

    finish(
        run_replay_bench(
            pair,
            num_samples=samples,
            rate=rate,
            link=link,
            processes=processes,
            cache=cache,
            say=lambda text: typer.echo(text, err=True),
        ),
        out,
    )
