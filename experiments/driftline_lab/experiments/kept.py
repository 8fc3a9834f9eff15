"""A result as a file that is believed only if it holds what was written for that very run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from driftline_lab.experiments.result import SEGMENT, START, Result, dumped, from_json, to_json
from driftline_shared.errors import DataError
from driftline_shared.host.durable import write_atomic

MAX_BYTES = 64 << 20
"""Of a file; those of long streams are a few hundred kB."""


def write(path: Path, result: Result, key: str) -> None:
    """Write `result` of the run `key` whole, with a digest of both."""
    document = {"digest": _digest(result, key), "key": key, "result": asdict(result)}
    write_atomic(path, dumped(document), durable=False)


def read(path: Path, key: str, *, baseline: str, seed: int) -> Result | None:
    """What `write` wrote for the run `key`, of that baseline and seed; None where no file is.

    Raises DataError for a file that holds anything else.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"it cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise DataError(f"it has more than {MAX_BYTES} bytes")
    try:
        document = json.loads(data)
        digest, content = document["digest"], dumped(document["result"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError("it is not whole, or of another version of Driftline") from error
    found = from_json(content, "it")
    if digest != _digest(found, key):
        raise DataError("it is of another run, or was changed")
    fault = next(_faults(found, baseline, seed), None)
    if fault is not None:
        raise DataError(fault)
    return found


def _digest(result: Result, key: str) -> str:
    return hashlib.sha256(key.encode() + b"\0" + to_json(result)).hexdigest()


def _faults(found: Result, baseline: str, seed: int) -> Iterator[str]:
    if (found.baseline, found.seed) != (baseline, seed):
        yield f"it is of {found.baseline}, seed {found.seed}, not of {baseline}, seed {seed}"
    if not found.rows:
        yield "it has no rows"
    elif (found.first.kind, found.last.kind) != (START, SEGMENT):
        yield "its rows are not of a whole stream"
    for row in found.rows:
        if row.accuracy.keys() != found.teacher.keys():
            yield "its rows and its teacher are of different domains"
    if any(not 0 <= share <= 1 for share in _shares(found)):
        yield "it has a share outside 0..1"


def _shares(found: Result) -> Iterator[float]:
    yield from found.teacher.values()
    yield from (each.name_match for each in found.teacher_captions.values())
    for row in found.rows:
        yield from row.accuracy.values()
        yield from (each.name_match for each in row.captions.values())
        if row.answered is not None:
            yield row.answered
