"""The command put together: sub-commands of this install, its version, completion for shells."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperOption

from driftline_shared.program.extras import GROUP, missing_of


def build_commands() -> typer.Typer:
    """The command with every sub-command that this install can run; one that is called without the
    packages it needs says which extra holds them.
    """
    _show_flags_as_flags()
    app = typer.Typer(
        name="driftline",
        help="Keeps a small multimodal LLM on a device good while the world before it drifts.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    app.command("version")(_version)
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        if missing_of(entry.name, entry.module):
            continue
        try:
            app.add_typer(entry.load(), name=entry.name)
        except ModuleNotFoundError as missing:
            # An extra that was not installed (torch, ray …) hides the command that needs it, and no
            # other.
            if (missing.name or "").startswith("driftline"):
                raise
    return app


def _version() -> None:
    """The version of this install."""
    typer.echo(f"driftline {metadata.version('driftline')}")


def _show_version(wanted: bool) -> None:
    if wanted:
        _version()
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show it and stop.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    pass


def _show_flags_as_flags() -> None:
    """In help a flag stands without a type: some releases of typer write `--json <bool>`, though it
    takes no value.
    """
    shown = getattr(TyperOption, "display_type_rich", None)
    if shown is None or getattr(shown, "of_driftline", False):
        return

    def display(option: Any, ctx: Any) -> str | None:
        kind: str | None = None if option.is_flag else shown(option, ctx)
        return kind

    display.of_driftline = True  # type: ignore[attr-defined]
    TyperOption.display_type_rich = display  # type: ignore[method-assign, assignment]
