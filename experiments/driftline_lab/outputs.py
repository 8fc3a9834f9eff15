"""Files that a long command writes when it is over: looked at before it begins."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

from driftline_shared.errors import ConfigError


def writable(param: typer.CallbackParam, out: Path | None) -> Path | None:
    """`out` of the option `param`; ConfigError at once if it cannot be written. A callback."""
    return probed(out, param.opts[0])


def probed(out: Path | None, option: str) -> Path | None:
    """`out`, which `option` names; ConfigError if it cannot be written. Leaves it as it was."""
    if out is None:
        return None
    was_there = out.exists()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.open("ab").close()
        if not was_there:
            out.unlink()
    except OSError as error:
        raise ConfigError(f"{option} {out} cannot be written: {error.strerror}") from error
    return out


def apart(out: Path | None, read: Iterable[Path | None]) -> None:
    """ConfigError where `out` is a file that is read, too: its content would be lost."""
    places = {path.resolve() for path in read if path is not None}
    if out is not None and out.resolve() in places:
        raise ConfigError(f"--out {out} is a file that is read: name another one")
