"""A process that makes runs: started by `processes.py`, one run at a time.

`python -m driftline_lab.experiments.making.child`. Standard input has JSON lines: first what it is
to know (`Workplace`), then `{"run": key}` each time it is free. It answers `{"say": text}` while it
works and `{"made": seconds}` or `{"failed": why}` at the end of a run. It ends with its input.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter

from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.making.here import attempt
from driftline_lab.experiments.making.orders import orders
from driftline_lab.experiments.tables.listed import table_named
from driftline_lab.experiments.tables.scale import Choice
from driftline_lab.replay.cache.store import ResultStore
from driftline_shared.program.logs import setup_logs
from driftline_shared.program.process import set_up_process


@dataclass(frozen=True, kw_only=True, slots=True)
class Workplace:
    """What two processes must have in common: folder of results, cache, scale, names of tables."""

    folder: Path
    cache: Path
    choice: Choice
    tables: tuple[str, ...]


WORKPLACE = TypeAdapter(Workplace)


def main(asked: IO[str], answers: IO[str]) -> int:
    """Work until nothing more is asked; the exit code."""
    setup_logs(level="warning")
    place = WORKPLACE.validate_json(asked.readline())

    def answer(**document: Any) -> None:
        answers.write(json.dumps(document) + "\n")
        answers.flush()

    def say(text: str) -> None:
        answer(say=text)

    store = ResultStore(place.cache)
    lab = Lab(place.folder, store, report=say)
    known = {
        each.key: each for each in orders(map(table_named, place.tables), lab, place.choice.scale())
    }
    for line in asked:
        seconds, why = attempt(lab, known[json.loads(line)["run"]], say)
        if why:
            answer(failed=why)
        else:
            answer(made=seconds)
    store.close()
    return 0


if __name__ == "__main__":
    set_up_process()
    # What a library prints must not stand between two answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as own:
        os.dup2(2, 1)
        sys.exit(main(sys.stdin, own))
