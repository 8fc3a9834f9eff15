"""`driftline lab trace`: look at recorded traces, cut, merge, check, recover and export them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from driftline_shared.callbacks import ignore

app = typer.Typer(
    help="Look at recorded traces, cut, merge, check, recover and export them.",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(help="Folder of a trace.", metavar="TRACE")]
Out = Annotated[Path, typer.Argument(help="New folder to write.", metavar="OUT")]
Kinds = Annotated[list[str] | None, typer.Option("--kind", help="Of this kind; repeat.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@app.command()
def info(trace: Folder, as_json: Json = False) -> None:
    """What a trace is of and holds: events by kind, segment and verdict, bytes, accuracy.

    Example: driftline lab trace info trace/ --json
    """
    from driftline_lab.trace.opening import open_to_read
    from driftline_lab.trace.summary import summarize

    found = summarize(open_to_read(trace, ignore))
    if not as_json:
        found = {**found.pop("manifest")["subject"], **found}
    show(found, as_json)


@app.command()
def head(
    trace: Folder,
    count: Annotated[int, typer.Option("-n", help="How many events.", min=0)] = 10,
    kind: Kinds = None,
) -> None:
    """The first events, one JSON line each; bytes are left out.

    Example: driftline lab trace head trace/ -n 3 --kind update
    """
    from itertools import islice

    from driftline_lab.trace.cutting import Cut, parse_kinds
    from driftline_lab.trace.export.rows import json_text, plain
    from driftline_lab.trace.opening import need_values, open_to_read

    source = open_to_read(trace, noted)
    chosen = Cut(kinds=need_values(source, "kind", parse_kinds(kind or ())))
    for event in islice(chosen.of(source.events()), count):
        typer.echo(json_text(plain(event), event, ascii_only=False))


@app.command()
def cut(
    trace: Folder,
    out: Out,
    rows: Annotated[str, typer.Option(help="FIRST:END, counted from 0.")] = ":",
    since: Annotated[
        str | None, typer.Option(help="From this time on: seconds since 1970, or ISO 8601.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    segment: Annotated[list[str] | None, typer.Option(help="Of this segment; repeat.")] = None,
    device: Annotated[list[str] | None, typer.Option(help="Of this device; repeat.")] = None,
    domain: Annotated[list[str] | None, typer.Option(help="Of this domain; repeat.")] = None,
    kind: Kinds = None,
    all_tokens: Annotated[
        bool, typer.Option("--all-tokens/--no-all-tokens", help="Keep all tokens of answers.")
    ] = True,
    as_json: Json = False,
) -> None:
    """A new trace of some of the events; they keep their numbers.

    Example: driftline lab trace cut trace/ night/ --segment night --rows :5000
    """
    from driftline_lab.trace.cutting import Cut, parse_kinds, parse_rows, parse_time
    from driftline_lab.trace.opening import need_values, open_to_read
    from driftline_lab.trace.rewriting import without_tokens, write_events
    from driftline_lab.trace.whole import new_folder

    new_folder(out)
    source = open_to_read(trace, noted)
    chosen = Cut(
        rows=parse_rows(rows),
        since=None if since is None else parse_time(since),
        until=None if until is None else parse_time(until),
        segments=need_values(source, "segment", segment or ()),
        devices=need_values(source, "device", device or ()),
        domains=need_values(source, "domain", domain or ()),
        kinds=need_values(source, "kind", parse_kinds(kind or ())),
    )
    events = chosen.of(source.events())
    if not all_tokens:
        events = (without_tokens(event, all_only=True) for event in events)
    made = write_events(out, watched(events), like=source.manifest, derived="cut")
    show({"folder": str(out), "num_events": made.num_rows}, as_json)


@app.command()
def merge(
    traces: Annotated[list[Path], typer.Argument(help="Two or more traces.", metavar="TRACE ...")],
    out: Annotated[Path, typer.Option("--out", help="New folder to write.")],
    as_json: Json = False,
) -> None:
    """One trace of several, in order of wall time; refuses other pairs and token spaces.

    Example: driftline lab trace merge device1/ device2/ cloud/ --out all/
    """
    from driftline_lab.trace.cutting import merge as merge_traces
    from driftline_lab.trace.opening import open_to_read
    from driftline_lab.trace.whole import new_folder

    new_folder(out)
    for folder in traces:
        open_to_read(folder, noted)
    made = merge_traces(traces, out)
    show({"folder": str(out), "num_events": made.num_rows}, as_json)


@app.command()
def validate(
    trace: Folder,
    pair: Annotated[
        str, typer.Option(help="Also decode all tokens, in the space of this pair.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Check every part, row and value. Exit code 1 names the part and row that is wrong.

    Example: driftline lab trace validate trace/ --pair tiny
    """
    from driftline_lab.trace.summary import validate as check
    from driftline_shared.trace.reader import open_trace

    show(check(open_trace(trace), pair), as_json)


@app.command()
def anonymize(
    trace: Folder,
    out: Out,
    salt: Annotated[
        str, typer.Option(help="Secret of the hashes; by default a random one, thrown away.")
    ] = "",
    texts: Annotated[
        str, typer.Option(help="Questions, answers and references: hash, drop or keep.")
    ] = "hash",
    times: Annotated[
        bool, typer.Option("--shift-times/--keep-times", help="Begin at 2000-01-01.")
    ] = True,
    tokens: Annotated[
        bool, typer.Option("--keep-tokens/--drop-tokens", help="Tokens show something of pictures.")
    ] = True,
    as_json: Json = False,
) -> None:
    """A new trace without names, ids, pictures and, unless kept, texts and times of day.

    Example: driftline lab trace anonymize trace/ public/ --drop-tokens
    """
    from driftline_lab.trace.anonymity import Anonymizer, anonymize_trace, texts_named
    from driftline_lab.trace.opening import open_to_read
    from driftline_lab.trace.whole import new_folder

    anonymizer = Anonymizer(
        salt=salt.encode() or secrets.token_bytes(32),
        texts=texts_named(texts),
        shift_times=times,
        drop_tokens=not tokens,
    )
    new_folder(out)
    open_to_read(trace, noted)
    made = anonymize_trace(trace, out, anonymizer)
    show({"folder": str(out), "num_events": made.num_rows}, as_json)


@app.command()
def recover(trace: Folder, as_json: Json = False) -> None:
    """Make the journal that a crash left a part; a second time changes nothing. A journal of which
    nothing can be read is set aside under another name.

    Example: driftline lab trace recover trace/
    """
    from driftline_shared.trace.journal import names_set_aside
    from driftline_shared.trace.reader import open_trace
    from driftline_shared.trace.writer import recover as recover_trace

    before, aside = open_trace(trace).manifest, set(names_set_aside(trace))
    after = recover_trace(trace)
    show(
        {
            "folder": str(trace),
            "num_recovered": after.num_rows - before.num_rows,
            "num_events": after.num_rows,
            "num_parts": len(after.parts),
            "set_aside": sorted(set(names_set_aside(trace)) - aside),
        },
        as_json,
    )


@app.command()
def export(
    trace: Folder,
    out: Out,
    to: Annotated[str, typer.Option("--to", help="huggingface, webdataset, mcap or label-studio.")],
    as_json: Json = False,
) -> None:
    """Write a trace in another format, into a new folder.

    Example: driftline lab trace export trace/ hub/ --to huggingface
    """
    from driftline_lab.trace.export.table import EXPORTERS
    from driftline_lab.trace.opening import open_to_read
    from driftline_lab.trace.whole import whole_folder
    from driftline_shared.errors import ConfigError

    if to not in EXPORTERS:
        raise ConfigError(f"--to {to!r} is no format; known are {', '.join(EXPORTERS)}")
    with whole_folder(out) as draft:
        num_events = EXPORTERS[to](open_to_read(trace, noted), draft)
    show({"folder": str(out), "format": to, "num_events": num_events}, as_json)


def noted(sentence: str) -> None:
    """Say it beside what the command prints."""
    typer.echo(sentence, err=True)


def show(document: dict[str, Any], as_json: bool) -> None:
    """The document as JSON, or a line a value."""
    if as_json:
        typer.echo(json.dumps(document))
        return
    for key, value in document.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name}: {one}" for name, one in value.items()) or "-"
        typer.echo(f"{key:20} {value}")


def watched(events: Iterator[Any]) -> Iterator[Any]:
    """The events, counted on standard error where somebody looks on."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:.0f} events"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        for event in events:
            yield event
            bar.advance(task)
