"""`driftline lab replay`: run a recorded stream again, under another policy or on another link."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from driftline_lab.replay.run import ReplayResult

EXAMPLES = """
**Examples**

    driftline lab replay ./trace --policy usual.toml --out run-a

    driftline lab replay ./trace --policy careful.toml --link lte --out run-b

    driftline lab replay ./trace --policy p.toml --answers recompute --link train --seed 3

    driftline lab replay ./trace --processes --json

`driftline lab diff run-a run-b` puts two runs side by side. Two replays with one seed write the
same metrics.json. What is real and what is modelled: docs/replay.md. Exit codes: 0 well, 1 failed,
2 a flag or setting is wrong.
"""


def replay(
    trace: Annotated[Path, typer.Argument(help="Folder of a trace.")],
    policy: Annotated[
        Path | None,
        typer.Option(
            help="TOML file of a sampling policy: samples and tokens are chosen anew under it. "
            "Needs a trace with all tokens. An empty file: the defaults."
        ),
    ] = None,
    link: Annotated[
        str, typer.Option(help="ideal, wifi, lte, 3g, satellite or train.", metavar="PROFILE")
    ] = "ideal",
    seed: Annotated[int, typer.Option(help="Seed of rounds, sampling and links.")] = 0,
    speed: Annotated[
        str, typer.Option(help="Virtual seconds a second at most, or max.", metavar="N|max")
    ] = "max",
    answers: Annotated[
        str,
        typer.Option(
            help="recorded: as in the trace; recompute: anew, from all tokens, under the version "
            "in force.",
            metavar="recorded|recompute",
        ),
    ] = "recorded",
    processes: Annotated[
        bool, typer.Option("--processes", help="The cloud in a process, over loopback gRPC.")
    ] = False,
    pair: Annotated[
        str | None, typer.Option(help="Pair of the trace; by default the shipped one of its name.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="New run folder to write.")] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of labels and candidates by digest; by default the user's."),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Remember nothing.")] = False,
    set_cloud: Annotated[
        list[str] | None, typer.Option(help="A setting of the cloud, as key=value; may repeat.")
    ] = None,
    set_device: Annotated[
        list[str] | None, typer.Option(help="A setting of the device, as key=value; may repeat.")
    ] = None,
    set_times: Annotated[
        list[str] | None,
        typer.Option(
            help="How long work takes in virtual seconds: label_s=0.01; may repeat. Keys: label_s, "
            "step_s, gate_s, compress_s, release_s, probe_s."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Drive the real intake, rounds, releases and applier with a trace, under a virtual clock."""
    from driftline_lab.replay.cache.store import default_folder
    from driftline_lab.replay.links import profile_named
    from driftline_lab.replay.options import (
        answers_of,
        assignments,
        policy_from,
        speed_of,
        times_of,
    )
    from driftline_lab.replay.run import run_replay
    from driftline_lab.replay.settings import ReplayOptions
    from driftline_lab.trace.opening import open_to_read
    from driftline_shared.program.logs import setup_logs

    setup_logs(level="warning")
    subject = open_to_read(trace, lambda note: typer.echo(note, err=True)).manifest.subject
    options = ReplayOptions(
        pair=pair or subject.pair,
        seed=seed,
        link=profile_named(link),
        policy=None if policy is None else policy_from(policy),
        answers=answers_of(answers),
        speed=speed_of(speed),
        processes=processes,
        cloud_settings=assignments(set_cloud),
        device_settings=assignments(set_device),
        times=times_of(set_times),
        cache=None if no_cache else cache or default_folder(),
    )
    result = _with_progress(
        lambda on_progress: run_replay(trace, options, out=out, on_progress=on_progress)
    )
    if repeated := int(result.metrics.numbers["samples.repeated"]):
        typer.echo(
            f"passed over {repeated} of the cloud's rows: of samples that are in the trace as "
            "their device's answer, or that came again",
            err=True,
        )
    if as_json:
        document = {
            "metrics": asdict(result.metrics),
            "hits": result.hits,
            "wall_s": result.wall_s,
            "times_real": result.times_real,
        }
        typer.echo(json.dumps(document))
        return
    _show(result, out, answers)


def _with_progress(run: Callable[[Callable[[int, int], None]], ReplayResult]) -> ReplayResult:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("replaying", total=None)

        def on_progress(done: int, total: int) -> None:
            if done % 50 == 0:
                bar.update(task, completed=done, total=total)

        return run(on_progress)


def _show(result: ReplayResult, out: Path | None, answers: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from driftline_lab.report.numbers import count
    from driftline_lab.runs.run import AS_RECORDED

    console, metrics = Console(), result.metrics
    up, numbers = metrics.uplink, metrics.numbers
    console.print(
        f"{count(up.seen, 'answer')}, {count(up.sent, 'sample')}, {up.bytes:,} bytes up; "
        f"{count(len(metrics.updates), 'update')}, {numbers['updates.bytes']:,.0f} bytes down; "
        f"{numbers['virtual_s']:.0f} s in {result.wall_s:.1f} s ({result.times_real:.0f} x)"
    )
    if metrics.accuracy:
        table = Table("domain", "answers", "as recorded", "in the replay")
        for domain, found in metrics.accuracy.items():
            table.add_row(
                escape(domain),
                str(found.num_questions),
                f"{found.before:.1%}",
                f"{found.after:.1%}",
            )
        console.print(table)
    if metrics.accuracy and answers == "recorded":
        console.print(AS_RECORDED)
    if not metrics.rounds:
        console.print(f"no round was started: {count(up.sent, 'sample')} came")
    else:
        table = Table("round", "at answer", "samples", "started", "ended", "why")
        for each in metrics.rounds:
            table.add_row(
                str(each.number),
                str(each.at),
                str(each.num_samples),
                each.started,
                each.state,
                escape(each.reason),
            )
        console.print(table)
    if up.seen and not up.sent:
        console.print(
            "[yellow]no sample went up: the trace holds none, or the policy chose none; with all "
            "tokens in the trace --policy FILE chooses anew[/]"
        )
    if not numbers["settled"]:
        console.print("[yellow]what was under way at the end did not come to rest[/]")
    if out is not None:
        console.print(f"wrote {escape(str(out))}")
