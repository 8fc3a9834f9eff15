"""A run: set up, break, let come to rest, look; what came of it as one document."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from driftline_lab.chaos.director import Director
from driftline_lab.chaos.faults import schedule
from driftline_lab.chaos.finale import come_to_rest
from driftline_lab.chaos.invariants import (
    harmful_versions,
    num_lost_in_memory,
    read_cloud,
    samples_hold,
    versions_hold,
)
from driftline_lab.chaos.journal import Journal
from driftline_lab.chaos.stage import Stage
from driftline_shared.callbacks import ignore

LOG = "chaos.jsonl"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`seconds` of faults, drawn by `seed`, against that many `devices`. `keep`: where everything
    stays; None: a temporary folder, which stays only where an invariant broke.
    """

    seed: int = 0
    seconds: float = 60.0
    devices: int = 3
    keep: Path | None = None

    @property
    def command(self) -> str:
        """What does the same again."""
        return (
            f"driftline lab chaos --seed {self.seed} --minutes {self.seconds / 60:g} "
            f"--devices {self.devices}"
        )


def run_chaos(plan: Plan, report: Callable[[str], None] = ignore) -> dict[str, Any]:
    """Do it; `broken` in what comes back is empty where every invariant held."""
    folder = plan.keep or Path(tempfile.mkdtemp(prefix="driftline-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / LOG)
    began_s = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(_ends_on_sigterm())
        stage = Stage(folder / "stage", devices=plan.devices, seed=plan.seed)
        stack.callback(stage.tear_down)
        faults = schedule(
            plan.seed, seconds=plan.seconds, devices=plan.devices, shim=stage.shim is not None
        )
        journal.note("plan", command=plan.command, faults=len(faults), disk=stage.shim is not None)
        report(f"setting up a cloud and {plan.devices} devices in {folder} …")
        stage.set_up()
        director = Director(stage, journal)
        report(f"{len(faults)} faults in {plan.seconds:.0f} s …")
        director.run(faults, seconds=plan.seconds)
        broken = list(director.broken)
        if not broken:
            report("all faults undone; waiting for life, rest and an orderly end …")
            broken = come_to_rest(stage, director, journal)
            broken += director.broken
        stage.tear_down()
        found = _found(plan, stage, director, broken, time.monotonic() - began_s)
        for what in found["broken"]:
            if what not in director.broken:
                journal.note("broken", what=what)
        journal.note("end", **{name: value for name, value in found.items() if name != "broken"})
    found["log"] = str(journal.path)
    if plan.keep is None and not found["broken"]:
        shutil.rmtree(folder, ignore_errors=True)
        found["log"] = ""
    return found


@contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """SIGTERM ends as an error does: nothing that was started is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _found(
    plan: Plan, stage: Stage, director: Director, broken: list[str], took_s: float
) -> dict[str, Any]:
    held = read_cloud(stage.cloud_state)
    if not broken:
        broken = samples_hold(held, stage.devices) + versions_hold(held, stage)
    return {
        "seed": plan.seed,
        "minutes": round(plan.seconds / 60, 3),
        "devices": plan.devices,
        "took_s": round(took_s, 1),
        "all_up_s": round(director.up_s, 1),
        "broken": broken,
        "faults": dict(sorted(director.done.items())),
        "num_faults": director.done.total(),
        "num_deaths_at_a_write": director.num_deaths,
        "num_undone_by_power_cuts": sum(one.control.num_undone for one in stage.programs),
        "num_starts": sum(device.witness.num_starts for device in stage.devices),
        "num_answers": sum(device.witness.num_answers for device in stage.devices),
        "num_samples": sum(len(device.witness.on_disk) for device in stage.devices),
        "num_in_cloud": held.num_rows,
        "num_lost_in_memory": num_lost_in_memory(held, stage.devices),
        "num_versions": len(held.versions),
        "num_harmful_versions": len(harmful_versions(stage, held.versions)),
        "rounds": dict(held.rounds),
        "command": plan.command,
        "disk_faults": stage.shim is not None,
    }
