"""Packages that an install may lack: what needs them says which extra holds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from driftline_shared.errors import MissingPackageError

GROUP = "driftline.commands"
"""Entry points of sub-commands."""

EXTRAS = {"cloud": "cloud", "demo": "lab", "device": "device", "lab": "lab", "models": "export"}
"""The extra that holds all that a sub-command may import."""

NEEDS = {
    "cloud": ("grpc_reflection", "ray", "sqlalchemy", "torch", "transformers"),
    "demo": ("easy_vqa", "ray", "torch", "transformers"),
    "device": ("fastapi", "onnxruntime", "tokenizers", "uvicorn"),
    "lab": ("easy_vqa", "ray", "torch", "transformers"),
}
"""Packages without which a sub-command can do nothing of what it is for: it is not listed then.
`models` signs and verifies with none; what else it does names what it lacks.
"""


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


def missing_of(command: str, module: str = "") -> str:
    """The first package that `command`, whose code is in `module`, needs and that is not installed;
    empty: it can run.
    """
    names = [*filter(None, [module.partition(".")[0]]), *NEEDS.get(command, ())]
    return next((name for name in names if find_spec(name) is None), "")
