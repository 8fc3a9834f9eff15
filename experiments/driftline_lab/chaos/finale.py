"""After the faults: everything must come to life again, then to rest, then end in order."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from driftline_lab.chaos.director import Director
from driftline_lab.chaos.invariants import harmful_versions, read_cloud, status_of
from driftline_lab.chaos.journal import Journal
from driftline_lab.chaos.stage import QUIET, ROUND_SAMPLES, Stage

WAIT_S = 600.0
_ANSWERS = 10
_LOOK_S = 0.5


def come_to_rest(stage: Stage, director: Director, journal: Journal) -> list[str]:
    """What did not come about: life (answers, a new version), rest (all sent, all worked on, all
    devices alike), an orderly end.
    """
    before = {device.name: device.witness.num_answers for device in stage.devices}
    newest = _newest(stage) or 0

    def answers() -> bool:
        return all(
            device.witness.num_answers >= before[device.name] + _ANSWERS for device in stage.devices
        )

    for what, holds in (
        ("every device answers", answers),
        ("a new version comes that devices keep", lambda: _is_better(stage, newest)),
    ):
        if not _until(holds, director):
            return [f"after the faults it did not come about that {what}{_told(stage)}"]
        journal.note("after", what=what)
    (stage.orders / QUIET).touch()
    for what, holds in (
        ("all samples leave the devices", lambda: _all_sent(stage)),
        ("the cloud works all of them off", lambda: _worked_off(stage)),
        ("all devices run the newest version", lambda: _alike(stage)),
    ):
        if not _until(holds, director):
            return [f"after the faults it did not come about that {what}{_told(stage)}"]
        journal.note("after", what=what)
    found = []
    for program in reversed(stage.programs):
        code = program.stop()
        if code != 0:
            found.append(
                f"{program.name} ended with {code} when it was asked to:\n{program.tail()}"
            )
    for device in stage.devices:
        device.witness.read()
    return found


def _until(holds: Callable[[], bool], director: Director) -> bool:
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s and not director.broken:
        director.tick()
        if holds():
            return True
        time.sleep(_LOOK_S)
    return False


def _newest(stage: Stage) -> int | None:
    """None: not known now."""
    try:
        return max(read_cloud(stage.cloud_state).versions, default=0)
    except sqlite3.Error:
        return None


def _is_better(stage: Stage, before: int) -> bool:
    """Whether there is a version after `before` that devices can keep: one that harms, made before
    the calm, stays the newest where too few devices are there to stop it.
    """
    newest = _newest(stage)
    return (
        newest is not None and newest > before and newest not in harmful_versions(stage, [newest])
    )


def _all_sent(stage: Stage) -> bool:
    return all(
        status_of(device).get("spool", {}).get("num_samples") == 0 for device in stage.devices
    )


def _worked_off(stage: Stage) -> bool:
    try:
        held = read_cloud(stage.cloud_state)
    except sqlite3.Error:
        return False
    waiting = sum(state == "waiting" for state, _ in held.samples.values())
    return held.open_rounds == 0 and waiting < ROUND_SAMPLES


def _alike(stage: Stage) -> bool:
    newest = _newest(stage)
    return all(status_of(device).get("version") == newest for device in stage.devices)


def _told(stage: Stage) -> str:
    """What everybody says of it, for who reads the report."""
    lines = [f"; the newest version is {_newest(stage)}"]
    for device in stage.devices:
        status = status_of(device)
        spool, link = status.get("spool", {}), status.get("link", {})
        lines.append(
            f"{device.name}: version {status.get('version')}, {spool.get('num_samples')} samples "
            f"wait, failed {status.get('failed_versions')}, link: {link.get('last_error')}"
        )
    lines.append(f"the cloud's log ends:\n{stage.cloud.tail()}")
    return "\n".join(lines)
