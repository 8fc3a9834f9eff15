"""What a restart must not forget beside updates and samples: policy, budgets spent, an operator's
request.

    policy.json      the newest policy of the cloud, written when it comes
    device_id        the device's name, made at the first start
    sampling.json    budgets spent, written about once a second: a kill forgets a second of spending
    rollback.json    {"leave_version"}: written by the operator's command, removed when taken
    paused.json      {"since_unix_s"}: there as long as an operator wants the device to pause
    step.json        {"go_on_from"}: the newest step that a waiting device may leave
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from driftline_device.sampling.sampler import Sampler
from driftline_shared.bounds import check_policy
from driftline_shared.errors import DriftlineError
from driftline_shared.host.durable import (
    clear_way,
    error_text,
    make_folder,
    read_json,
    set_aside,
    write_json,
)
from driftline_shared.ids import keep_device_id, load_device_id
from driftline_shared.tokens import SamplingPolicy

_log = structlog.get_logger(__name__)


FILES = (
    "policy.json",
    "sampling.json",
    "rollback.json",
    "paused.json",
    "step.json",
    "status.json",
    "bytes.json",
)
"""Of the daemon itself; those of updates, spool and link are their own."""


class StateFiles:
    """Small files in the state folder; a broken one is set aside, logged and left out.

    What the disk does not take is held on to, where it matters beyond this process, and written
    when it does: see `retry`.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._sampling = ""
        self._policy: SamplingPolicy | None = None
        self._device_id = ""
        self._not_kept = False
        try:
            make_folder(state)
        except OSError as error:
            _log.error("state.no_folder", path=str(state), error=error_text(error))
        for name in FILES:
            clear_way(state / name)

    @property
    def device_id(self) -> str:
        """This device's name; read, or made, the first time."""
        if not self._device_id:
            self._device_id, kept = load_device_id(self._state / "device_id")
            self._not_kept = not kept
        return self._device_id

    def retry(self) -> None:
        """Write what the disk did not take, or what somebody removed; cheap where all is well.
        Raises OSError while the disk takes it still not.
        """
        path = self._state / "device_id"
        if self._device_id and (self._not_kept or not os.path.lexists(path)):
            if not keep_device_id(path, self._device_id):
                return
            self._not_kept = False
            _log.info("device_id.kept", path=str(path))
        if self._policy is not None:
            self.keep_policy(self._policy)

    @property
    def pid(self) -> int:
        """Of this process."""
        return os.getpid()

    def policy(self) -> SamplingPolicy | None:
        """The policy last kept."""
        found = self._read("policy.json")
        if found is None:
            return None
        try:
            return to_policy(found)
        except (ValueError, DriftlineError) as error:
            set_aside(self._state / "policy.json", f"holds no policy: {error}")
            return None

    def keep_policy(self, policy: SamplingPolicy) -> None:
        """Keep `policy` durably; OSError, and once more at `retry`, where the disk is full."""
        self._policy = policy
        write_json(self._state / "policy.json", asdict(policy), sealed=True)
        self._policy = None

    def sampling(self) -> Mapping[str, object] | None:
        """What `Sampler.state` gave when it was last kept."""
        return self._read("sampling.json")

    def keep_sampling(self, sampler: Sampler) -> None:
        """Keep the sampler's state if it has changed; not synced: losing a second costs little."""
        text = json.dumps(sampler.state(), sort_keys=True)
        if text != self._sampling:
            write_json(self._state / "sampling.json", json.loads(text), durable=False, sealed=True)
            self._sampling = text

    def request_rollback(self, version: int) -> None:
        """Ask a daemon on this state to leave `version`; taken once."""
        write_json(self._state / "rollback.json", {"leave_version": version}, sealed=True)

    def take_rollback(self) -> int | None:
        """The version an operator wants to leave, if any."""
        found = self._read("rollback.json")
        if found is None:
            return None
        version = found.get("leave_version")
        # Where it cannot be removed it is taken again: leaving a version twice does no harm.
        with suppress(OSError):
            self._remove("rollback.json")
        return version if isinstance(version, int) else None

    def pause(self, now_unix_s: float) -> None:
        """Ask a daemon on this state, now and after any restart, to pause; see `paused_since`."""
        if self.paused_since() is None:
            write_json(self._state / "paused.json", {"since_unix_s": now_unix_s}, sealed=True)

    def resume(self) -> None:
        """Take the request to pause back."""
        self._remove("paused.json")

    def paused_since(self) -> float | None:
        """Since when (seconds since 1970) an operator wants the device to answer only: neither to
        sample, nor to send, nor to take updates. None: it works as always.

        A file that does not read counts as a pause, of unknown age: pausing is what does no harm.
        """
        path = self._state / "paused.json"
        if not path.exists():
            return None
        try:
            since = (read_json(path) or {}).get("since_unix_s")
        except (OSError, ValueError) as error:
            _log.error(
                "state.pause_unreadable",
                path=str(path),
                error=str(error),
                fix="The device counts as paused: `driftline device resume` ends that.",
            )
            since = None
        return float(since) if isinstance(since, int | float) else 0.0

    def let_go_on(self, step: int) -> None:
        """Let a daemon on this state that waits at `step`, or at one before it, go on."""
        write_json(self._state / "step.json", {"go_on_from": step}, sealed=True)

    def goes_on_from(self) -> int:
        """The newest step that the daemon may leave; -1: none."""
        step = (self._read("step.json") or {}).get("go_on_from")
        return step if isinstance(step, int) else -1

    def forget_steps(self) -> None:
        """Steps are counted from each start: what an earlier run was told holds no more."""
        self._remove("step.json")

    def _read(self, name: str) -> dict[str, object] | None:
        path = self._state / name
        try:
            return read_json(path)
        except ValueError as error:
            set_aside(path, str(error))
        except OSError as error:
            _log.error(
                "state.file_unreadable",
                path=str(path),
                error=error_text(error),
                fix="Let the device's user read it; the device goes on without it.",
            )
        return None

    def _remove(self, name: str) -> None:
        path = self._state / name
        clear_way(path)
        path.unlink(missing_ok=True)


def to_policy(found: Mapping[str, object]) -> SamplingPolicy:
    """The policy that policy.json holds; ValueError or a DriftlineError if it is none."""
    policy = TypeAdapter(SamplingPolicy).validate_python(found)
    check_policy(policy)
    return policy
