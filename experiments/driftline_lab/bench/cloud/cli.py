"""Benches of the cloud's rounds: the gate, a replayed trace, token codecs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from driftline_lab.bench.options import Out, Seeds
from driftline_lab.bench.report import finish, put_together
from driftline_lab.lists import names_of, seeds_of, wholes_of


def gate(
    context: typer.Context,
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
        put_together(context, join, documents, out)
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


def token_codecs(
    codecs: Annotated[
        str, typer.Option(help="Codecs beside int8, comma-separated.")
    ] = "int4,klt64,klt96,klt128",
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    domains: Annotated[str, typer.Option(help="Drifts, comma-separated.")] = "night,sketch",
    questions: Annotated[int, typer.Option(help="Stream questions seen.", min=10)] = 500,
    tests: Annotated[int, typer.Option(help="Questions of each accuracy.", min=10)] = 400,
    share: Annotated[float, typer.Option(help="Share of the tokens that leaves.")] = 0.5,
    sample_share: Annotated[float, typer.Option(help="Share of the questions that leaves.")] = 0.3,
    rounds: Annotated[bool, typer.Option(help="Distil a round from each codec's samples.")] = True,
    seeds: Seeds = "100,101,102,103",
    out: Out = None,
) -> None:
    """Token codecs on the same samples: bytes, errors, the teacher's labels, what a round gains.

    Example: driftline lab bench token-codecs --codecs klt64,klt128 --no-rounds
    """
    from driftline_lab.bench.cloud.token_codecs import CodecPlan, run_token_codecs
    from driftline_lab.data.worlds import world_for

    plan = CodecPlan(
        pair=pair,
        codecs=names_of("--codecs", codecs),
        domains=names_of("--domains", domains, world_for(None, pair=pair).domains),
        seeds=seeds_of(seeds),
        num_questions=questions,
        num_test=tests,
        share=share,
        sample_share=sample_share,
        with_rounds=rounds,
    )
    finish(run_token_codecs(plan), out)


def ray_labelling(
    labellers: Annotated[
        str, typer.Option(help="Numbers of labellers of the simulated teacher.")
    ] = "1,2,4,8",
    simulated: Annotated[bool, typer.Option(help="The teacher that sleeps.")] = True,
    real: Annotated[bool, typer.Option(help="The pair's teacher, by 1 and 2 labellers.")] = True,
    samples: Annotated[int, typer.Option(help="Samples of one measurement.", min=16)] = 512,
    rounds: Annotated[int, typer.Option(help="Measurements of each, alternating.", min=1)] = 3,
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    out: Out = None,
) -> None:
    """Labels a second by Ray labellers on this machine: efficiency, overhead, the same labels.

    Example: driftline lab bench ray-labelling --no-real --out ray.json
    """
    from driftline_lab.bench.cloud.ray_labelling import RayPlan, run_ray_labelling

    plan = RayPlan(
        pair=pair,
        labellers=wholes_of("--labellers", labellers, least=1),
        num_samples=samples,
        real_samples=samples,
        rounds=rounds,
        real_rounds=rounds,
    )
    finish(run_ray_labelling(plan, simulated_one=simulated, real_one=real), out)


def groups(
    context: typer.Context,
    seeds: Seeds = "0,1,2",
    drifts: Annotated[
        str, typer.Option(help="Drifts of the devices of one line, two or more, comma-separated.")
    ] = "night,sketch",
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    devices: Annotated[int, typer.Option(help="Devices of each drift.", min=2)] = 8,
    questions: Annotated[
        int, typer.Option(help="That the devices of one drift are asked, in all.", min=32)
    ] = 460,
    tests: Annotated[int, typer.Option(help="Test questions of a domain.", min=16)] = 400,
    documents: Annotated[
        list[Path] | None,
        typer.Option("--document", help="Put together results of other seeds; repeat."),
    ] = None,
    out: Out = None,
) -> None:
    """Two drifts in one line: whether it splits, and what adapters a group gain over one for all.

    Example: driftline lab bench groups --seeds 0 --out groups.json
    """
    from driftline_lab.bench.cloud.groups import GroupsPlan, join, run_groups
    from driftline_lab.data.corrupted import ALL_DOMAINS

    if documents:
        put_together(context, join, documents, out)
        return
    plan = GroupsPlan(
        pair=pair,
        drifts=names_of("--drifts", drifts, ALL_DOMAINS),
        devices=devices,
        questions=questions,
        tests=tests,
        seeds=seeds_of(seeds),
    )
    finish(run_groups(plan, lambda text: typer.echo(text, err=True)), out)
