"""Whether everything is up again: only then does the schedule's time go on.

On a slow machine a program that was killed takes long to come back, and faults by the clock on the
wall would only ever meet programs that are starting.
"""

from __future__ import annotations

import json
import time

from driftline_lab.chaos.programs.process import Program, children_of
from driftline_lab.chaos.stage import Stage

MOST_S = 120.0
"""What is not up by then is broken in peace: time goes on."""


class Liveliness:
    """Looks at a stage again and again; `is_up` is cheap."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._pids: dict[str, int] = {}
        self._answers: dict[str, int] = {}
        self._offset = 0
        self._works = False
        self._since_s = time.monotonic()

    def is_up(self) -> bool:
        """Whether the cloud listens, its worker has the line, and every device has answered since
        its start; also where that has taken too long.
        """
        now_s = time.monotonic()
        if self._all_up():
            self._since_s = now_s
            return True
        return now_s - self._since_s > MOST_S

    def _all_up(self) -> bool:
        self._read_log()
        cloud = self._stage.cloud
        ready = cloud.runs and (self._stage.cloud_state / "port").is_file() and self._works
        ready = ready and bool(children_of(cloud.pid))
        for device in self._stage.devices:
            num_answers = device.witness.num_answers
            if self._is_new(device.program):
                self._answers[device.name] = num_answers
            ready = ready and device.program.runs and num_answers > self._answers[device.name]
        return ready

    def _is_new(self, program: Program) -> bool:
        before, self._pids[program.name] = self._pids.get(program.name), program.pid
        return before != program.pid

    def _read_log(self) -> None:
        """Follow what the cloud says of its worker."""
        log = self._stage.cloud.log
        if not log.exists():
            return
        if log.stat().st_size < self._offset:
            self._offset = 0  # it was begun anew
        with log.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            try:
                row = json.loads(line)
            except ValueError:  # a traceback
                continue
            event = row.get("event") if isinstance(row, dict) else None
            if event in ("work.started", "work.ended"):
                self._works = False
            elif event == "lease.taken" and str(row.get("owner")).startswith("beside-"):
                self._works = True
