"""`driftline lab trace make`: a trace of a world, without a device."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

MOST = 1_000_000
SLOWEST_RATE, FASTEST_RATE = 0.001, 1e6

EXAMPLES = """
**Examples**

    driftline lab trace make ./trace --world easyvqa --segments source,night --questions 300

    driftline lab trace make ./small --policy p.toml --all-tokens none --seed 1

The student (version 0) answers every question of the stream; with all tokens in the trace a replay
may choose samples, tokens and answers anew.
"""


def make(
    folder: Annotated[Path, typer.Argument(help="New folder of the trace to write.")],
    world: Annotated[
        str | None, typer.Option(help="Data set of the stream; by default the pair's.")
    ] = None,
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    segments: Annotated[
        str | None, typer.Option(help="Domains of the stream in turn; by default the demo's.")
    ] = None,
    questions: Annotated[
        int, typer.Option(help="Questions in each segment.", min=1, max=MOST)
    ] = 600,
    passes: Annotated[
        int, typer.Option(help="Streams in a row, each of the next seed.", min=1, max=MOST)
    ] = 1,
    seed: Annotated[int, typer.Option(help="Seed of stream, drifts and sampling.", min=0)] = 0,
    rate: Annotated[float, typer.Option(help="Questions a second, in the trace.")] = 2.0,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="TOML of a sampling policy: which answers are recorded as samples, too; without "
            "it none is, and a replay needs a policy of its own."
        ),
    ] = None,
    all_tokens: Annotated[
        str, typer.Option(help="How all tokens are kept.", metavar="fp16|int8|none")
    ] = "fp16",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Record a world's stream as the pair's student sees it: where a replay begins."""
    from rich.console import Console
    from rich.progress import Progress

    from driftline_lab.data.worlds import world_named
    from driftline_lab.recording.record import RecordingPlan, record
    from driftline_lab.recording.world import Stream, num_questions, world_questions
    from driftline_lab.replay.options import policy_from
    from driftline_lab.trace.whole import new_folder, whole_folder
    from driftline_shared.errors import ConfigError
    from driftline_shared.pair.pair import load_pair
    from driftline_shared.program.logs import setup_logs

    setup_logs(level="warning")
    if all_tokens not in ("fp16", "int8", "none"):
        raise ConfigError(f"--all-tokens {all_tokens!r}: it is fp16, int8 or none")
    if not SLOWEST_RATE <= rate <= FASTEST_RATE:
        raise ConfigError(
            f"--rate {rate}: it is a number of questions a second in "
            f"{SLOWEST_RATE}..{FASTEST_RATE:.0f}"
        )
    new_folder(folder)
    loaded = load_pair(pair)
    chosen = world_named(world, pair=loaded.name)
    stream = Stream(
        world=chosen,
        domains=chosen.domains_of(segments),
        questions=questions,
        passes=passes,
        seed=seed,
    )
    plan = RecordingPlan(
        seed=seed,
        rate=rate,
        policy=None if policy is None else policy_from(policy),
        all_tokens="" if all_tokens == "none" else all_tokens,  # type: ignore[arg-type]
        source=f"world:{chosen.name}",
    )
    with (
        tempfile.TemporaryDirectory(prefix="driftline-stream-") as scratch,
        whole_folder(folder) as draft,
        Progress(console=Console(stderr=True), transient=True) as bar,
    ):
        task = bar.add_task("recording", total=1.0)
        manifest = record(
            draft,
            loaded,
            world_questions(stream, Path(scratch)),
            plan,
            num_questions=num_questions(stream),
            progress=lambda done: bar.update(task, completed=done),
        )
    result = {
        "trace": str(folder),
        "answers": manifest.num_rows,
        "bytes": sum(part.bytes for part in manifest.parts),
    }
    if as_json:
        typer.echo(json.dumps(result))
    else:
        typer.echo(f"{manifest.num_rows} answers, {result['bytes']} bytes in {folder}")
