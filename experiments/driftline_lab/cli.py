"""`driftline lab`: build pairs, write streams, run benches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from driftline_lab.bench.cli import app as bench_app
from driftline_lab.recipes.cli import app as build_app
from driftline_shared.errors import ConfigError

app = typer.Typer(help="Recipes, data sets with drift, benches.", no_args_is_help=True)
app.add_typer(build_app, name="build-pair")
app.add_typer(bench_app, name="bench")


@app.command("fit-pair")
def fit_pair(
    folder: Annotated[Path, typer.Argument(help="Folder of the pair (it holds pair.toml).")],
) -> None:
    """Fit token space and gate of a pair on its source calibration set.

    Example: driftline lab fit-pair ./my-pair
    """
    from rich.progress import Progress

    from driftline_lab.recipes.fit import fit_gate, fit_token_space

    digest = fit_token_space(folder)
    typer.echo(f"token space {digest[:16]}…")
    with Progress() as bar:
        task = bar.add_task("scoring the source calibration set", total=None)
        fit_gate(folder, lambda done, total: bar.update(task, completed=done, total=total))


@app.command()
def stream(
    folder: Annotated[Path, typer.Argument(help="Folder to write stream.jsonl and tests into.")],
    segments: Annotated[
        str, typer.Option(help="Domains in turn, by name: source, night, fog, sketch …")
    ] = "source,night,sketch",
    questions: Annotated[int, typer.Option(help="Questions in each segment.")] = 1500,
    tests: Annotated[int, typer.Option(help="Held-out questions of each domain.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of stream, drifts and test choice.")] = 0,
) -> None:
    """Write a synthetic drifting stream as a folder that `driftline demo --data` reads.

    Example: driftline lab stream ./foggy --segments source,fog --seed 3
    """
    from driftline_lab.data.streams import Segment, write_stream

    parts = [Segment(domain=name, num_questions=questions) for name in domains_of(segments)]
    write_stream(folder, parts, seed=seed, num_test=tests)
    typer.echo(f"wrote {folder / 'stream.jsonl'}, test.jsonl, source_test.jsonl")


def domains_of(segments: str) -> list[str]:
    """The names in a comma-separated list. Raises ConfigError for one that does not exist."""
    from driftline_lab.data.domains import DOMAINS

    names = [name.strip() for name in segments.split(",") if name.strip()]
    unknown = [name for name in names if name not in DOMAINS]
    if unknown or not names:
        raise ConfigError(f"segments: {unknown or segments!r}; known domains are {list(DOMAINS)}")
    return names
