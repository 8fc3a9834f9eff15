"""Commands that load the model: run, ask, calibrate."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline_device.cli.inspect import show
from driftline_device.cli.options import (
    ConfigFlag,
    JsonFlag,
    PairFlag,
    PrintFlag,
    SetFlag,
    StateFlag,
    load,
)

if TYPE_CHECKING:
    from driftline_device.api.settings import ApiConfig
    from driftline_device.config import DeviceConfig

app = typer.Typer()

_RUN_EXAMPLES = """
**Examples**

    driftline device run --source photos/ --question "What is this?"

    driftline device run --source stream.jsonl --cloud 127.0.0.1:7443 --hold

    driftline device run --source day.jsonl --source night.jsonl --settle 60 --events run.jsonl

    driftline device run --source stream.jsonl --trace trace/ --set trace.all_tokens=int8

    driftline device run --pair tiny-export --api-port 8000

    driftline device run --config device.toml --set probe.latency_ratio=3.0 --print-config

    driftline device run --source camera:0 --question "Is the door open?" --set frames.every_s=10

    driftline device run --source photos/ --question "What is this?" --json | jq -r .answer

**Sources**: a folder of images, a .jsonl file, a video file, `watch:FOLDER` (images that come in
too), `camera:NUMBER` or `camera:/dev/...`, `rtsp://...`, `http://...` (an MJPEG stream). The last
three kinds never end. Without --source, those of the setting `sources` are read.

**Clips**: a pair that reads them gets as many pictures at a time as it reads, `frames.every_s`
apart; --set clip.every_s=2 begins one every 2 seconds.

**Answers** are printed, a line each, and appended to --events. With --json every line of standard
output is one JSON document: {"kind": "answer", "time", "source", "place", "question", "answer",
"uncertainty", "version", ...}, and {"kind": "summary", ...} at the end. The log is on standard
error.

A row of a .jsonl source is {"image": path relative to the file, of a clip a list of them,
"question", "answer" (optional, for scoring only: it never leaves the device), "domain" (optional)}.
Every setting is also an environment variable: DRIFTLINE_DEVICE_PROBE__NUM_TIMED=4. Flags win over
the environment, the environment over the file. SIGTERM stops reading and gives waiting samples
--drain seconds to leave; SIGHUP takes up changed settings, as far as that goes without a restart.

Exit codes: 0 well; 1 data or pair is wrong; 2 a setting is wrong or the state folder is in use.
"""

_ASK_EXAMPLES = """
**Examples**

    driftline device ask photo.jpg "What colour is the ball?" --pair tiny-export

    driftline device ask photo.jpg "What colour is the ball?" --json

Without --pair, that of the settings is asked (the shipped pair tiny by default, which needs torch).
Answers with the adapter version that the device in --state runs. Exit codes: 0 well; 1 the image or
the pair is wrong; 2 a setting is wrong.
"""

_CALIBRATE_EXAMPLES = """
**Examples**

    driftline device calibrate --pair ./my-pair

    driftline device calibrate --pair ./my-pair --set compute=cuda

The second step of bringing a pair, after `driftline models fit-token-space`. Exit codes: 0 well;
1 the pair is wrong or has no source calibration set; 2 a setting is wrong.
"""


@app.command(epilog=_RUN_EXAMPLES)
def run(
    source: Annotated[
        list[str] | None,
        typer.Option("--source", help="See below; repeat for more, in order.", metavar="SOURCE"),
    ] = None,
    question: Annotated[
        str | None, typer.Option("--question", help="Asked about each image or frame.")
    ] = None,
    cloud: Annotated[
        str | None, typer.Option("--cloud", help="host:port of the cloud; none: work alone.")
    ] = None,
    state: StateFlag = None,
    pair: PairFlag = None,
    hold: Annotated[
        bool, typer.Option("--hold", help="Stay up after the last source, until SIGTERM.")
    ] = False,
    pace: Annotated[
        float | None, typer.Option("--pace", help="Questions a second; 0: as fast as possible.")
    ] = None,
    settle: Annotated[
        float | None,
        typer.Option("--settle", help="Most seconds to wait after each source for the cloud."),
    ] = None,
    drain: Annotated[
        float | None, typer.Option("--drain", help="Most seconds for samples to leave at the end.")
    ] = None,
    events: Annotated[
        Path | None, typer.Option("--events", help="Append one JSON line per answer here.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="Record a trace in this folder.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of sampling.")] = None,
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", help="Prometheus port; 0: none.")
    ] = None,
    api_port: Annotated[
        int | None,
        typer.Option("--api-port", help="Port of the local OpenAI-compatible API; 0: none."),
    ] = None,
    config: ConfigFlag = None,
    quiet: Annotated[
        bool | None, typer.Option("--quiet", help="No line per answer on standard output.")
    ] = None,
    set_: SetFlag = None,
    print_config: PrintFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Answer a stream or a local API, send what is uncertain, take updates."""
    flags: dict[str, object] = {
        "question": question,
        "cloud": cloud,
        "state": state,
        "pair": pair,
        "pace": pace,
        "settle_s": settle,
        "drain_s": drain,
        "events": events,
        "trace.folder": trace,
        "seed": seed,
        "metrics.port": metrics_port,
        "api.port": api_port,
        "show_answers": False if quiet else None,
    }
    settings = load(config, set_, flags)
    if print_config:
        from driftline_device.program.planned import planned

        shown = settings.model_dump(mode="json") | planned(settings)
        typer.echo(json.dumps(shown, indent=2))
        return
    from driftline_device.daemon.systemd import notifier_of
    from driftline_device.program.service import run_device
    from driftline_device.sinks.console import console_on
    from driftline_device.sources.table import is_live
    from driftline_shared.errors import ConfigError
    from driftline_shared.program.logs import setup_logs

    source = source or list(settings.sources)
    named = source or [feed.source for feed in settings.feeds]
    if not named and not hold and not settings.api.port:
        raise ConfigError(
            "nothing to do: give --source, --api-port, or --hold to only stay in touch"
        )
    setup_logs(
        level=settings.log.level,
        form=settings.log.form,
        file=settings.log_file,
        limit_repeats=True,
    )
    snapshot = run_device(
        settings,
        source,
        hold=hold or not named,
        reread=lambda: load(config, set_, flags),
        notifier=notifier_of(os.environ),
        console=console_on(sys.stdout, as_json=as_json) if settings.show_answers else None,
        on_ready=lambda: _show_what_to_try(settings),
    )
    if as_json:  # as the answers are: every line of standard output is one document
        typer.echo(json.dumps({"kind": "summary", **snapshot}))
    else:
        show(snapshot, as_json=False)
    # A camera or watched folder may have had nothing to show until it was stopped.
    ends = bool(source) and not is_live(source[-1])
    if ends and not snapshot["num_answered"]:
        raise typer.Exit(1)


def _show_what_to_try(settings: DeviceConfig) -> None:
    if settings.api.port and settings.log.form == "text":
        typer.echo(try_it(settings.api), err=True)


def try_it(api: ApiConfig) -> str:
    """A line for a shell that asks the local API about a picture; of a token it says where it is
    to be had, never what it is.
    """
    host, port = api.host, api.port
    token = f"$(head -n 1 {shlex.quote(str(api.token_file))})" if api.token_file else ""
    if api.token.get_secret_value() and not token:
        token = "$DRIFTLINE_TOKEN"
    opened = f'-H "authorization: Bearer {token}" ' if token else ""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    place = f"[{shown}]" if ":" in shown else shown
    text = {"type": "text", "text": "What is this?"}
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,PICTURE"}}
    body = json.dumps({"messages": [{"role": "user", "content": [text, picture]}]})
    body = body.replace("PICTURE", "'\"$(base64 -w0 picture.png)\"'")
    return (
        f"try it:  curl -s http://{place}:{port}/v1/chat/completions "
        f"{opened}-H 'content-type: application/json' -d '{body}'"
    )


@app.command(epilog=_ASK_EXAMPLES)
def ask(
    image: Annotated[
        Path, typer.Argument(help="Image file; of a pair of clips a video or folder.")
    ],
    question: Annotated[str, typer.Argument(help="What to ask about it.")],
    state: StateFlag = None,
    pair: PairFlag = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Answer one question with the version this device runs; nothing is sent."""
    settings = load(config, set_, {"state": state, "pair": pair})
    from driftline_device.program.service import ask_once
    from driftline_shared.program.logs import setup_logs

    setup_logs(level=settings.log.level, form=settings.log.form)
    answer = ask_once(settings, image, question)
    if as_json:
        # A compressor shows here: `prompt_tokens` counts the visual ones that were left.
        usage = {"prompt_tokens": answer.num_prompt_tokens, "new_tokens": answer.num_steps}
        told = {"answer": answer.text, "scores": answer.scores, "version": answer.version}
        typer.echo(json.dumps(told | usage))
    else:
        typer.echo(answer.text)


@app.command(epilog=_CALIBRATE_EXAMPLES)
def calibrate(
    pair: PairFlag = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Score the student on the pair's source set, for the sample gate; writes gate.safetensors."""
    settings = load(config, set_, {"pair": pair})
    from rich.console import Console
    from rich.progress import Progress

    from driftline_device.program.service import calibrate_pair
    from driftline_shared.program.logs import setup_logs

    setup_logs(level=settings.log.level, form=settings.log.form)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("scoring the source calibration set", total=1.0)
        done = calibrate_pair(settings, lambda done: bar.update(task, completed=done))
    if as_json:
        typer.echo(json.dumps(asdict(done)))
    else:
        typer.echo(
            f"gate: {done.num_questions} questions scored; self-check: {done.num_probe_right} of "
            f"{done.num_probe} answered as expected"
        )
