"""`driftline lab lmms-eval`: public tasks, by lmms-eval, at several budgets of visual tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from driftline_lab.bench.options import JsonFile
from driftline_lab.bench.report import finish
from driftline_lab.lists import names_of

EXAMPLES = (
    "Example: driftline lab lmms-eval --model ./llava-1.5-7b-hf "
    "--prompt 'USER: <image>\\n{question} ASSISTANT:' --device cuda "
    "--tasks gqa,pope,textvqa_val,mmbench_en_dev --compressor visionzip --tokens 192,128,64"
)


def lmms_eval(
    tasks: Annotated[str, typer.Option(help="Tasks of lmms-eval, comma-separated.")],
    model: Annotated[
        str, typer.Option(help="A pair, tiny-video, or with --prompt a checkpoint's folder.")
    ] = "tiny",
    side: Annotated[
        str, typer.Option(help="Which side of a pair: teacher or student.")
    ] = "teacher",
    prompt: Annotated[
        str, typer.Option(help="A checkpoint's prompt: its placeholder once, {question} once.")
    ] = "",
    canvas: Annotated[
        str, typer.Option(help="HEIGHTxWIDTH or FRAMESxHEIGHTxWIDTH of a LLaVA-OneVision.")
    ] = "",
    device: Annotated[str, typer.Option(help="Where a checkpoint computes: cpu, cuda.")] = "cpu",
    dtype: Annotated[
        str | None, typer.Option(help="What it computes in there; bfloat16 by default.")
    ] = None,
    compressor: Annotated[
        str,
        typer.Option(help="A method, with options: visionzip, dart:layer=3; docs/compression.md."),
    ] = "",
    tokens: Annotated[
        str, typer.Option(help="Budgets, comma-separated; all tokens are always measured.")
    ] = "",
    limit: Annotated[
        int | None, typer.Option(help="Documents of each task; all by default.", min=1)
    ] = None,
    include: Annotated[
        Path | None, typer.Option(help="Folder with task files of your own.", exists=True)
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Score a model on public tasks with all visual tokens and with few.

    Needs lmms-eval, which brings many packages and a torch of its own: install it beside Driftline
    in an environment of its own. Tasks download their data. A table on stdout, the last line JSON.
    """
    from driftline_lab.bench.compression.plan import parsed
    from driftline_lab.lmms.answering import ModelChoice, parse_canvas
    from driftline_lab.lmms.run import as_text, document, evaluated, parse_tokens

    choice = ModelChoice(
        name=model,
        side=side,
        prompt=prompt.replace("\\n", "\n"),
        canvas=parse_canvas(canvas),
        device=device,
        dtype=dtype,
    )
    method, options = parsed(compressor)
    scores = evaluated(
        choice,
        compressor=method,
        options=options,
        tokens=parse_tokens(tokens),
        tasks=names_of("--tasks", tasks),
        include=None if include is None else str(include),
        limit=limit,
    )
    typer.echo(as_text(scores))
    finish(document(scores, choice, compressor), json_file)
