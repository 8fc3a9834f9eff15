"""Packages that an install may lack: what needs them says which extra holds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from driftline_shared.errors import MissingPackageError


@contextmanager
def needs_extra(what: str, extra: str, *, instead: str = "") -> Iterator[None]:
    """Import inside: a missing package becomes an error that names `extra` of driftline.

    `what`: what needs it. `instead`: what else helps. Our own modules are never taken for one.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("driftline"):
            raise
        fix = f"pip install 'driftline[{extra}]'" + (f"; {instead}" if instead else "")
        raise MissingPackageError(f"{what} needs {missing.name}: {fix}", f"{fix}.") from missing
