"""`driftline lab fetch`: gets drawings of others that no package of PyPI holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Get data sets that are not in packages of PyPI.", no_args_is_help=True)


@app.callback()
def fetch() -> None:
    """Get data sets that are not in packages of PyPI."""


@app.command()
def emoji(
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Take the files from this folder, where `npm pack` left them."),
    ] = None,
) -> None:
    """Put the drawings of three more designers into the user's cache, 7 MB, through npm.

    Example: driftline lab fetch emoji && driftline demo --pair smol --world emoji
    """
    from driftline_lab.data.emoji.fetch import copied_from, fetch_packages, npm_pack
    from driftline_lab.data.emoji.packages import PACKAGES, packages_folder

    pack = copied_from(source) if source else npm_pack
    fetch_packages(PACKAGES.values(), packages_folder(), pack, typer.echo)
