"""Command lines that files of the project name, read by the program's own parser."""

from __future__ import annotations

import shlex
from functools import cache
from typing import Any

import typer

from driftline_shared.program.cli import build


@cache
def driftline_command() -> Any:
    return typer.main.get_command(build())


def parse(command: list[str]) -> None:
    """Raises what `driftline` would at a prompt; nothing is run."""
    program, (name, *rest) = driftline_command(), command
    while hasattr(program, "commands"):
        if not rest or rest[0] not in program.commands:
            raise ValueError(f"{name} has no sub-command {rest[:1]}")
        program, name, rest = program.commands[rest[0]], rest[0], rest[1:]
    program.make_context(name, list(rest))


def words(text: str) -> list[str]:
    """Shell words of one simple command, `exec` taken off."""
    found = shlex.split(text)
    return found[1:] if found[:1] == ["exec"] else found
