"""`driftline lab bench`: measure; progress on stderr, the last line of stdout is JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Measure. Progress goes to stderr, the last line of stdout is one JSON document.",
    no_args_is_help=True,
)

Out = Annotated[Path | None, typer.Option("--out", help="Also write the JSON into this file.")]
Seeds = Annotated[str, typer.Option(help="Seeds, comma-separated.")]


@app.command()
def loop(
    seeds: Seeds = "0,1,2",
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    segments: Annotated[
        str, typer.Option(help="Domains of the stream; by default the demo's.")
    ] = "",
    documents: Annotated[
        list[Path] | None,
        typer.Option(
            "--document", help="Summarise this result of `driftline demo --json`; repeat."
        ),
    ] = None,
    out: Out = None,
) -> None:
    """The whole demo, once a seed: recovered share, forgetting, bytes up and down.

    Example: driftline lab bench loop --pair smol --seeds 0,1,2 --out result.json
    """
    from driftline_lab.bench.loop import read_documents, run_loop

    if documents:
        finish(read_documents(documents), out)
    else:
        chosen = [int(seed) for seed in seeds.split(",")]
        finish(run_loop(chosen, pair=pair, segments=segments), out)


@app.command()
def share(
    domains: Annotated[str, typer.Option(help="Domains, comma-separated.")] = "night,sketch",
    questions: Annotated[int, typer.Option(help="Stream questions of each domain.")] = 300,
    out: Out = None,
) -> None:
    """Sweep the share of tokens that leave: teacher accuracy and bytes a sample, by token scorer.

    Example: driftline lab bench share --domains night,fog
    """
    from driftline_lab.bench.share import run_share

    finish(run_share(domains.split(","), questions), out)


@app.command()
def dwc(
    states: Annotated[list[Path], typer.Argument(help="Folders of `driftline demo --keep-state`.")],
    out: Out = None,
) -> None:
    """Every update of finished demos beside its uncompressed candidate, on the test sets.

    Example: driftline demo --keep-state run0 && driftline lab bench dwc run0
    """
    from driftline_lab.bench.dwc import run_dwc

    finish(run_dwc(states), out)


@app.command()
def uts(
    questions: Annotated[int, typer.Option(help="Questions timed.")] = 60, out: Out = None
) -> None:
    """What token sampling adds to the time of an answer, kind by kind.

    Example: driftline lab bench uts
    """
    from driftline_lab.bench.uts import run_uts

    finish(run_uts(questions), out)


@app.command()
def spool(
    samples: Annotated[int, typer.Option(help="Samples in the spool.")] = 100_000, out: Out = None
) -> None:
    """Open a spool that holds many samples, beside an empty one.

    Example: driftline lab bench spool --samples 100000
    """
    from driftline_lab.bench.spool import run_spool

    finish(run_spool(samples), out)


@app.command()
def throughput(
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    device: Annotated[str, typer.Option(help="Where the cloud's models run: cpu, cuda.")] = "cpu",
    samples: Annotated[int, typer.Option(help="Samples labelled.", min=1)] = 64,
    out: Out = None,
) -> None:
    """Samples labelled and rows distilled per second, on this machine's CPU or accelerator.

    Example: driftline lab bench throughput --pair smol --device cuda
    """
    from driftline_lab.bench.throughput import run_throughput

    finish(run_throughput(pair, device, samples), out)


@app.command("all")
def everything(out: Out = None) -> None:
    """Every bench in turn (about fifteen minutes on two cores)."""
    from driftline_lab.bench.loop import run_loop
    from driftline_lab.bench.share import run_share
    from driftline_lab.bench.spool import run_spool
    from driftline_lab.bench.uts import run_uts

    result = {
        "spool": run_spool(100_000),
        "uts": run_uts(60),
        "share": run_share(["night", "sketch"], 300),
        "loop": run_loop([0, 1, 2]),
    }
    finish(result, out)


def finish(result: dict[str, Any], out: Path | None) -> None:
    """Name machine and versions, write the file if wanted, and end with one JSON line."""
    from driftline_lab.bench.machine import conditions

    document = {"conditions": conditions(), "result": result}
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(document, indent=1) + "\n")
    typer.echo(json.dumps(document))
