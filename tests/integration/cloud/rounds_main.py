"""Processes that make rounds and kill themselves where they are told: `FOLDER [POINT ...]`.

One child per point, one after the other on the same folder, then one that is left alone; children
are forked, so Python's imports are paid once. Prints the exit status of each. POINT is
`event:state` of the coordinator's watch (`started:labelling`), or `during:work` of the workers
(`during:label`, `during:batch`). Everything but the workers is real; time stands still.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path

from driftline_cloud.rounds.round import Round
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers
from tests.fakes.rounds import open_cloud, run_rounds, send

NUM_SAMPLES = 40


def main(folder: Path, point: str) -> None:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def watch(event: str, round_: Round) -> None:
        if f"{event}:{round_.state}" == point:
            die()

    calls: Counter[str] = Counter()

    def during(work: str) -> None:
        calls[work] += 1
        # In the second chunk or batch of labels: the first one is stored by then.
        is_there = calls[work] == 2 if work in ("label", "batch") else True
        if f"during:{work}" == point and is_there:
            die()

    cloud = open_cloud(folder, ReckoningWorkers(hook=during), FakeClock(), watch=watch)
    if cloud.store.counts(cloud.line.id).num_samples == 0:
        send(cloud, range(NUM_SAMPLES))
    run_rounds(cloud)


def run_apart(folder: Path, point: str) -> int:
    """`main` in a process of its own; its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            main(folder, point)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    for wanted in [*sys.argv[2:], ""]:
        status = run_apart(Path(sys.argv[1]), wanted)
        sys.stderr.write(f"status {wanted or 'left-alone'} {status}\n")
