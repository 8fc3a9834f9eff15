"""What a restart must not forget beside updates and samples: policy, budgets spent, an operator's
request.

    policy.json      the newest policy of the cloud, written when it comes
    sampling.json    budgets spent, written about once a second: a kill forgets a second of spending
    rollback.json    {"leave_version"}: written by the operator's command, removed when taken
    paused.json      {"since_unix_s"}: there as long as an operator wants the device to pause
    step.json        {"go_on_from"}: the newest step that a waiting device may leave
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from driftline_device.sampling.sampler import Sampler
from driftline_shared.bounds import check_policy
from driftline_shared.errors import DriftlineError
from driftline_shared.host.durable import make_folder, read_json, write_json
from driftline_shared.tokens import SamplingPolicy

_log = structlog.get_logger(__name__)


class StateFiles:
    """Small files in the state folder; a broken one is logged and left out."""

    def __init__(self, state: Path) -> None:
        make_folder(state)
        self._state = state
        self._sampling = ""

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
            policy = TypeAdapter(SamplingPolicy).validate_python(found)
            check_policy(policy)
        except (ValueError, DriftlineError) as error:
            _log.error("state_files.policy_broken", error=str(error))
            return None
        return policy

    def keep_policy(self, policy: SamplingPolicy) -> None:
        """Keep `policy` durably."""
        write_json(self._state / "policy.json", asdict(policy))

    def sampling(self) -> Mapping[str, object] | None:
        """What `Sampler.state` gave when it was last kept."""
        return self._read("sampling.json")

    def keep_sampling(self, sampler: Sampler) -> None:
        """Keep the sampler's state if it has changed; not synced: losing a second costs little."""
        text = json.dumps(sampler.state(), sort_keys=True)
        if text != self._sampling:
            write_json(self._state / "sampling.json", json.loads(text), durable=False)
            self._sampling = text

    def request_rollback(self, version: int) -> None:
        """Ask a daemon on this state to leave `version`; taken once."""
        write_json(self._state / "rollback.json", {"leave_version": version})

    def take_rollback(self) -> int | None:
        """The version an operator wants to leave, if any."""
        found = self._read("rollback.json")
        if found is None:
            return None
        (self._state / "rollback.json").unlink(missing_ok=True)
        version = found.get("leave_version")
        return version if isinstance(version, int) else None

    def pause(self, now_unix_s: float) -> None:
        """Ask a daemon on this state, now and after any restart, to pause; see `paused_since`."""
        if self.paused_since() is None:
            write_json(self._state / "paused.json", {"since_unix_s": now_unix_s})

    def resume(self) -> None:
        """Take the request to pause back."""
        (self._state / "paused.json").unlink(missing_ok=True)

    def paused_since(self) -> float | None:
        """Since when (seconds since 1970) an operator wants the device to answer only: neither to
        sample, nor to send, nor to take updates. None: it works as always.

        A file that does not read counts as a pause, of unknown age: pausing is what does no harm.
        """
        if not (self._state / "paused.json").exists():
            return None
        since = (self._read("paused.json") or {}).get("since_unix_s")
        return float(since) if isinstance(since, int | float) else 0.0

    def let_go_on(self, step: int) -> None:
        """Let a daemon on this state that waits at `step`, or at one before it, go on."""
        write_json(self._state / "step.json", {"go_on_from": step})

    def goes_on_from(self) -> int:
        """The newest step that the daemon may leave; -1: none."""
        step = (self._read("step.json") or {}).get("go_on_from")
        return step if isinstance(step, int) else -1

    def forget_steps(self) -> None:
        """Steps are counted from each start: what an earlier run was told holds no more."""
        (self._state / "step.json").unlink(missing_ok=True)

    def _read(self, name: str) -> dict[str, object] | None:
        try:
            return read_json(self._state / name)
        except (OSError, ValueError) as error:
            _log.error("state.file_broken", file=name, error=str(error))
            return None
