"""Benches of a cloud's intake: what it takes in, from how many, and how soon it says how it is."""

from __future__ import annotations

from typing import Annotated

import typer

from driftline_lab.bench.options import Out
from driftline_lab.bench.report import finish
from driftline_lab.lists import wholes_of


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
        waiting=wholes_of("--waiting", waiting),
        devices=devices,
        samples=samples,
        batch=batch,
        window=window,
        runs=runs,
    )
    finish(run_push(plan), out)


def fleet(
    devices: Annotated[int, typer.Option(help="Simulated devices.", min=1)] = 10_000,
    every: Annotated[float, typer.Option(help="Seconds between two of a device's Checks.")] = 5.0,
    ramp: Annotated[float, typer.Option(help="Seconds in which all enrol, evenly.")] = 60.0,
    seconds: Annotated[float, typer.Option(help="Seconds measured after that.", min=1.0)] = 60.0,
    pushing: Annotated[int, typer.Option(help="Of the devices, that also push.", min=0)] = 200,
    batch: Annotated[int, typer.Option(help="Samples that one pushes with a Check.", min=1)] = 4,
    processes: Annotated[int, typer.Option(help="Processes they live in.", min=1)] = 2,
    connections: Annotated[int, typer.Option(help="That they share.", min=1)] = 200,
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    out: Out = None,
) -> None:
    """Many simulated devices on one cloud, on loopback: errors, times of Check, memory.

    Simulated: they enrol, ask for updates and push real samples over gRPC, but run no model, live
    in a few processes and share their connections.

    Example: driftline lab bench fleet --devices 1000 --ramp 10 --seconds 20
    """
    from driftline_lab.bench.intake.fleet import Fleet, run_fleet

    wanted = Fleet(
        pair=pair,
        devices=devices,
        processes=processes,
        connections=connections,
        ramp_s=ramp,
        steady_s=seconds,
        every_s=every,
        pushing=pushing,
        batch=batch,
    )
    finish(run_fleet(wanted), out)


def status(
    samples: Annotated[int, typer.Option(help="Samples the cloud holds.", min=1)] = 1_000_000,
    runs: Annotated[int, typer.Option(help="Calls timed.", min=1)] = 20,
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    out: Out = None,
) -> None:
    """How soon a cloud that holds many samples says how it is: the call, and the command.

    Example: driftline lab bench status --samples 10000
    """
    from driftline_lab.bench.intake.status import run_status

    finish(run_status(samples, runs=runs, pair=pair), out)


def trust(
    runs: Annotated[int, typer.Option(help="Runs of each cloud, alternating.", min=1)] = 5,
    connections: Annotated[int, typer.Option(help="Connections of a run.", min=1)] = 50,
    checks: Annotated[int, typer.Option(help="Checks of a run, on one of them.", min=1)] = 1_000,
    samples: Annotated[int, typer.Option(help="Samples of a run, in one stream.", min=64)] = 2_048,
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    out: Out = None,
) -> None:
    """What certificates cost: a cloud with an authority beside one without, called by one device.

    Example: driftline lab bench trust --runs 3 --connections 20
    """
    from driftline_lab.bench.intake.trust import TrustPlan, run_trust

    plan = TrustPlan(pair=pair, runs=runs, connections=connections, checks=checks, samples=samples)
    finish(run_trust(plan), out)
