"""What the checks of a doctor found, of a device or of a cloud, and how they are shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import typer

Verdict = Literal["ok", "warn", "fail"]
"""`fail`: something that is asked for does not work, or soon will not; `warn`: something
to look at.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """`found`: the fact, for people. `fix`: what to do; empty where nothing is to be done."""

    name: str
    verdict: Verdict
    found: str
    fix: str = ""


def ok(name: str, found: str) -> Check:
    """All is well."""
    return Check(name=name, verdict="ok", found=found)


def warn(name: str, found: str, fix: str) -> Check:
    """Something to look at."""
    return Check(name=name, verdict="warn", found=found, fix=fix)


def fail(name: str, found: str, fix: str) -> Check:
    """It does not work like that."""
    return Check(name=name, verdict="fail", found=found, fix=fix)


def show_checks(checks: Sequence[Check], *, as_json: bool) -> bool:
    """Print them, for people or as one JSON document; whether none failed."""
    passed = all(check.verdict != "fail" for check in checks)
    if as_json:
        typer.echo(json.dumps({"ok": passed, "checks": [asdict(one) for one in checks]}, indent=2))
    else:
        _show(checks)
    return passed


def _show(checks: Sequence[Check]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colors = {"ok": "green", "warn": "yellow", "fail": "red"}
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column()
    table.add_column(overflow="fold")  # a long path is broken, never cut
    for check in checks:
        text = escape(check.found) + (f"\n[bold]fix:[/] {escape(check.fix)}" if check.fix else "")
        color = colors[check.verdict]
        table.add_row(f"[{color}]{check.verdict}[/]", check.name, text)
    Console().print(table)
