"""prepared.json: what `driftline device prepare` found fastest on this machine for an export."""

from __future__ import annotations

import platform
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field

from driftline_shared.host.durable import write_json
from driftline_shared.host.processors import num_processors, processor_name
from driftline_shared.pair.export_file import EXPORT_FILE, file_digest

PREPARED_FILE = "prepared.json"

_MAX_BYTES = 1 << 20

_log = structlog.get_logger(__name__)

_Share = Annotated[float, Field(ge=0.0, le=1.0)]
_Ms = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Candidate(_Table):
    """One precision at a number of CPU threads: median milliseconds to an answer, and the share of
    answers that are those of fp32.
    """

    precision: str
    threads: Annotated[int, Field(ge=1, le=1_024)]
    answer_ms: _Ms
    agreement: _Share


class Prepared(_Table):
    """The choice, and all that it was made from.

    `export`: sha256 of export.json. `machine`: a choice made on another one does not count.
    """

    format: Literal[1] = 1
    export: str
    machine: str
    onnxruntime: str
    precision: str
    threads: Annotated[int, Field(ge=1, le=1_024)]
    num_questions: int
    candidates: list[Candidate]


def this_machine() -> str:
    """What a choice depends on: the processor, how many there are, and what drives it."""
    name = processor_name() or "unnamed"
    version, providers = onnxruntime_facts()
    return (
        f"{platform.system()} {platform.machine()} ({name}), {num_processors()} processors, "
        f"onnxruntime {version} with {', '.join(providers)}"
    )


def onnxruntime_facts() -> tuple[str, list[str]]:
    """Version and providers of the installed onnxruntime, in its order."""
    import onnxruntime

    return str(onnxruntime.__version__), list(onnxruntime.get_available_providers())


def export_digest(folder: Path) -> str:
    """What names the export in `folder`."""
    return file_digest(folder / EXPORT_FILE)


def write_prepared(folder: Path, prepared: Prepared) -> None:
    """Put prepared.json into the export's folder, whole or not at all."""
    write_json(folder / PREPARED_FILE, prepared.model_dump())


def is_outdated(folder: Path) -> bool:
    """Whether there is a choice that was made on another machine, or for another export."""
    try:
        found = _read(folder / PREPARED_FILE)
    except (OSError, ValueError):
        return False
    return found.machine != this_machine() or found.export != export_digest(folder)


def _read(file: Path) -> Prepared:
    if file.stat().st_size > _MAX_BYTES:
        raise ValueError("too large")
    return Prepared.model_validate_json(file.read_bytes())


def read_prepared(folder: Path, precisions: Collection[str]) -> Prepared | None:
    """The choice for the export in `folder`, which has these precisions; None, with the reason
    logged, where there is none that counts here.
    """
    file = folder / PREPARED_FILE
    fix = f"Run `driftline device prepare {folder}`."
    if not file.is_file():
        _log.info("runtime.not_prepared", fix=fix)
        return None
    try:
        found = _read(file)
    except (OSError, ValueError) as error:
        _log.warning("runtime.prepared_broken", file=str(file), error=str(error), fix=fix)
        return None
    if found.machine != this_machine():
        _log.warning(
            "runtime.prepared_elsewhere", machine=found.machine, here=this_machine(), fix=fix
        )
        return None
    if found.export != export_digest(folder):
        _log.warning("runtime.prepared_for_another_export", fix=fix)
        return None
    if found.precision not in precisions or found.threads > num_processors():
        # Nobody signs this file.
        chosen = f"{found.precision} on {found.threads} threads"
        _log.warning("runtime.prepared_cannot_be", chosen=chosen, fix=fix)
        return None
    return found
