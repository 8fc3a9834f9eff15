"""Options that the benches share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from driftline_lab.outputs import writable

Out = Annotated[
    Path | None,
    typer.Option("--out", help="Also write the JSON into this file.", callback=writable),
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", help="Also write the JSON into this file.", callback=writable),
]
WorldName = Annotated[
    str | None,
    typer.Option(
        "--world", help="Data set (easyvqa, openmoji, emoji, boards); by default the pair's."
    ),
]
WorkFile = Annotated[
    Path | None,
    typer.Option(
        "--work",
        help="File of finished rows; they are not computed again.",
        callback=writable,
    ),
]
Seeds = Annotated[str, typer.Option(help="Seeds, comma-separated.")]
