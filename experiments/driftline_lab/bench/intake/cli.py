"""Benches of a cloud's intake: what it takes in, from how many, and how soon it says how it is."""

from __future__ import annotations

from typing import Annotated

import typer

from driftline_lab.bench.options import Out
from driftline_lab.bench.report import finish


def intake(
    waiting: Annotated[
        str, typer.Option(help="Samples that wait beforehand, comma-separated.")
    ] = "0,100000",
    runs: Annotated[int, typer.Option(help="Runs of each server, alternating.", min=1)] = 5,
    devices: Annotated[int, typer.Option(help="Devices, a connection each.", min=1)] = 8,
    samples: Annotated[int, typer.Option(help="Samples of a run, of all devices.", min=1)] = 16_384,
    batch: Annotated[int, typer.Option(help="Samples of a batch.", min=1, max=4_096)] = 64,
    window: Annotated[int, typer.Option(help="Batches under way, of a device.", min=1)] = 4,
    codec: Annotated[str, typer.Option(help="Token codec; auto: the pair's own.")] = "auto",
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    out: Out = None,
) -> None:
    """Samples a second into a cloud, and into a bare server that stores them as durably.

    Both are processes; the same bytes, on fresh databases, in alternation. What the bare server
    does and leaves out: the head of `driftline_lab/peers/bare_cloud.py`.

    Example: driftline lab bench intake --waiting 0 --runs 3 --out intake.json
    """
    from driftline_lab.bench.intake.push import PushPlan, run_push

    plan = PushPlan(
        pair=pair,
        codec=codec,
        waiting=tuple(int(one) for one in waiting.split(",")),
        devices=devices,
        samples=samples,
        batch=batch,
        window=window,
        runs=runs,
    )
    finish(run_push(plan), out)
