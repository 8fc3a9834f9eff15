"""The cloud in a process of its own: devices' calls over loopback gRPC, its clock and its rounds by
orders over a pipe. See `cloud/child.py` for the other end.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from driftline_device.link.channel import open_channel
from driftline_device.link.control import enrol
from driftline_device.link.counters import Counters
from driftline_device.link.downlink import Downlink
from driftline_device.link.push import push
from driftline_device.link.settings import LinkSettings
from driftline_lab.replay.cloud.makers import CloudPlan
from driftline_lab.replay.cloud.side import CloudSummary, StepDone
from driftline_shared.errors import ConfigError, DriftlineError
from driftline_shared.host.clock import Clock, SystemClock
from driftline_shared.status import Enrolment, SampleAck, UpdateQuery, UpdateReport, Welcome
from driftline_shared.update import Manifest

CALL_S = 600.0
"""Wall time after which a call counts as hanging; a loaded machine may be slow."""

STOP_S = 15.0

_SUMMARY = TypeAdapter(CloudSummary)


class ProcessCloud:
    """The `CloudSide` protocol over a child process; `folder` holds its log and downloads."""

    def __init__(self, plan: CloudPlan, clock: Clock, *, start_unix_s: float, folder: Path) -> None:
        """Raises DriftlineError with the child's own words if it does not start."""
        self._clock = clock
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._log = (folder / "cloud.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "driftline_lab.replay.cloud.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._told_s = -1.0
        self._downlinks: dict[str, Downlink] = {}
        try:
            started = self._order(
                {
                    "settings": {key: _plain(value) for key, value in plan.settings.items()},
                    "cache": None if plan.cache is None else str(plan.cache),
                    "cache_bytes": plan.cache_bytes,
                    "start_unix_s": start_unix_s,
                }
            )
        except BaseException:
            self._end()
            raise
        self._settings = LinkSettings(
            address=f"127.0.0.1:{started['port']}",
            call_timeout_s=CALL_S,
            fetch_timeout_s=CALL_S,
            fetch_tries=1,
        )
        self._channel = open_channel(self._settings.address)

    def enrol(self, enrolment: Enrolment) -> Welcome:
        """See `CloudSide`."""
        self._tell_time()
        return enrol(self._channel, enrolment, timeout_s=CALL_S)

    def push(self, device_id: str, token_space: str, bodies: Sequence[bytes]) -> list[SampleAck]:
        """See `CloudSide`."""
        self._tell_time()
        return push(self._channel, device_id, token_space, bodies, timeout_s=CALL_S)

    def check(self, query: UpdateQuery) -> Manifest | None:
        """See `CloudSide`."""
        self._tell_time()
        return self._downlink(query.device_id).check(
            base_model=query.base_model,
            adapter_version=query.adapter_version,
            failed_versions=query.failed_versions,
        )

    def fetch(self, device_id: str, manifest: Manifest) -> bytes:
        """See `CloudSide`."""
        self._tell_time()
        return self._downlink(device_id).fetch(manifest.blob_digest, manifest.blob_bytes)

    def report(self, device_id: str, report: UpdateReport) -> None:
        """See `CloudSide`."""
        self._tell_time()
        self._downlink(device_id).report(report)

    def step(self) -> StepDone:
        """See `CloudSide`."""
        return StepDone(**self._order({"passed_s": self._clock.monotonic_s(), "do": "step"}))

    def summary(self) -> CloudSummary:
        """See `CloudSide`."""
        found = self._order({"passed_s": self._clock.monotonic_s(), "do": "summary"})
        return _SUMMARY.validate_python(found)

    def close(self) -> None:
        """See `CloudSide`."""
        self._channel.close()
        self._end()

    def _tell_time(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s != self._told_s:
            self._order({"passed_s": now_s, "do": "time"})
            self._told_s = now_s

    def _downlink(self, device_id: str) -> Downlink:
        if device_id not in self._downlinks:
            self._downlinks[device_id] = Downlink(
                self._channel,
                lambda: device_id,
                self._folder / "downloads" / str(len(self._downlinks)),
                self._settings,
                Counters(),
                clock=SystemClock(),
                rng=random.Random(0),
                stop=threading.Event(),
            )
        return self._downlinks[device_id]

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise DriftlineError(
                f"the cloud's process ended; its log ends:\n{self._tail()}",
                fix="What its log says; `--processes` left out, the cloud runs in this process.",
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kind = ConfigError if answer["usage"] else DriftlineError
            raise kind(f"the cloud's process: {answer['error']}", fix=answer["fix"])
        return answer

    def _end(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with self._process.stdin, self._process.stdout, self._log:
            pass
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tail(self, lines: int = 15) -> str:
        text = (self._folder / "cloud.log").read_text(errors="replace", encoding="utf-8")
        return "\n".join(text.splitlines()[-lines:])


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
