"""`driftline demo`: one command shows a device that drifts, asks the cloud, and recovers."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from driftline_lab.outputs import writable

app = typer.Typer(
    help="Show a device that drifts, asks the cloud, and recovers.",
    invoke_without_command=True,
    rich_markup_mode="markdown",
)

_EXAMPLES = """
**Examples**

    driftline demo

    driftline demo --segments source,fog --seed 1 --json result.json

    driftline demo --seed 0 --out run-a && driftline demo --seed 0 --out run-b

    driftline demo --out ./run --report page.html

    driftline demo --data ./my-stream --keep-state ./state

    driftline demo --world openmoji --segments source,lineart,photo

    driftline demo --pair smol --set-device runtime=onnx

    driftline demo --segments source,inverted --owner-marks 20

    driftline demo --pair boards --segments source,ada

    driftline demo --segments source,corrupt-spatter-5 --questions 600 --tests 100

Every drift is synthetic, made from the easy-vqa data set or from drawings by
others (OpenMoji and three more sets of emoji, pychess).
Exit codes: 0 well, 1 failed, 2 usage.
"""


@app.callback(epilog=_EXAMPLES)
def demo(
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    seed: Annotated[
        int, typer.Option(help="Seed of stream, drifts, sampling and rounds.", min=0)
    ] = 0,
    workers: Annotated[str, typer.Option(help="Where rounds run: local or ray.")] = "local",
    world: Annotated[
        str | None,
        typer.Option(
            help="Data set of the stream (easyvqa, openmoji, emoji, boards); by default the pair's."
        ),
    ] = None,
    segments: Annotated[
        str | None,
        typer.Option(
            help="Domains of the stream in turn; by default source,night,sketch of easyvqa, "
            "source,lineart of openmoji, all six of emoji, source,atopdown,tomato of boards. A "
            "name that is not known is answered with the list."
        ),
    ] = None,
    questions: Annotated[
        int | None,
        typer.Option(
            help="Questions of a drifted segment, half as many of the source; by default the "
            "pair's.",
            min=2,
        ),
    ] = None,
    tests: Annotated[
        int | None,
        typer.Option(help="Held-out questions of each domain; by default the pair's.", min=1),
    ] = None,
    uplink_share: Annotated[
        float, typer.Option(help="Most samples sent per sample seen, 0..1.", min=0.0, max=1.0)
    ] = 0.3,
    token_share: Annotated[
        float,
        typer.Option(help="Share of a sample's tokens that is sent, 0..1.", min=0.001, max=1.0),
    ] = 0.5,
    data: Annotated[
        Path | None,
        typer.Option(help="Your own stream: stream.jsonl, test.jsonl, source_test.jsonl."),
    ] = None,
    set_cloud: Annotated[
        list[str] | None,
        typer.Option(help="A setting of the cloud, as key=value; may be repeated."),
    ] = None,
    set_device: Annotated[
        list[str] | None,
        typer.Option(help="A setting of the device, as key=value; may be repeated."),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the result document into this file.", callback=writable),
    ] = None,
    owner_marks: Annotated[
        int,
        typer.Option(
            help="Answers of the first drifted step that a scripted owner marks: three in four "
            "correct a wrong one. Later updates are held to them.",
            min=0,
            max=400,
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Leave a run in this new folder, for `driftline lab report` and `diff`."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="Also write the run as one HTML page into this file.",
            callback=writable,
        ),
    ] = None,
    keep_state: Annotated[
        Path | None, typer.Option(help="Keep data, state and logs of both programs here.")
    ] = None,
) -> None:
    """Start a cloud and a device on loopback, stream a drifting world, and show what happens."""
    from driftline_lab.data.worlds import world_named
    from driftline_lab.demo.options import DemoOptions
    from driftline_lab.demo.paces import pace_of
    from driftline_lab.demo.run import run_demo
    from driftline_shared.host.durable import write_atomic
    from driftline_shared.pair.pair import load_pair

    # Without this a SIGTERM would end the demo at once and leave its two programs behind.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    name = load_pair(pair).name
    chosen, pace = world_named(world, pair=name), pace_of(name)
    names = () if data is not None else chosen.domains_of(segments)
    with (
        tempfile.TemporaryDirectory(prefix="driftline-demo-")
        if keep_state is None
        else nullcontext(keep_state)
    ) as state:
        report = run_demo(
            DemoOptions(
                pair=pair,
                world=chosen,
                seed=seed,
                workers=workers,
                segments=names,
                questions=questions if questions is not None else pace.questions,
                tests=tests if tests is not None else pace.tests,
                uplink_share=uplink_share,
                token_share=token_share,
                data=data,
                pace=pace,
                cloud_settings=tuple(set_cloud or ()),
                device_settings=tuple(set_device or ()),
                owner_marks=owner_marks,
                state=Path(state),
                out=out if out is not None or page is None else Path(state) / "run",
            )
        )
        if page is not None:
            from driftline_lab.report.page import write_page

            write_page(out or Path(state) / "run", page)
            typer.echo(f"page: {page}")
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(json_file, (json.dumps(report.document(), indent=1) + "\n").encode())
