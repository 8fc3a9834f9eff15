"""A device process with a runtime without a model, which can be told where to kill itself.

    python -m tests.integration.device.fake_device STATE PAIR CLOUD STREAM KILL_AT

KILL_AT: "" for a whole life; "answered:N" after the N-th reply, "appending:N" inside the N-th
append, before its commit, "appended:N" after it; "hold" waits for SIGTERM at the end; or the name
of a stage of updates (see stages_followed).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from driftline_device.config import load_config
from driftline_device.program.assembly import open_daemon
from driftline_device.program.service import stops_on_signals, stream
from driftline_device.runtime.runtime import Question
from driftline_device.sources.table import open_source
from driftline_device.spool.sqlite import SqliteSpool
from driftline_shared.pair.pair import load_pair
from tests.fakes.answers import answers_followed
from tests.fakes.runtime import FakeRuntime
from tests.fakes.updates import stages_followed


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """Kills the process at the N-th call for its own event."""

    def __init__(self, kill_at: str) -> None:
        self.event, _, count = kill_at.partition(":")
        self.left = int(count or 1)

    def __call__(self, event: str) -> None:
        if event == self.event:
            self.left -= 1
            if self.left == 0:
                die()


def main() -> None:
    state, pair_dir, cloud, path, kill_at = sys.argv[1:6]
    countdown = Countdown(kill_at)
    real_append, real_evict = SqliteSpool.append, SqliteSpool._evict

    def append(self: SqliteSpool, sample: Any) -> bool:
        stored = real_append(self, sample)
        if stored:
            countdown("appended")
        return stored

    def evict(self: SqliteSpool, *args: Any) -> Any:
        countdown("appending")
        return real_evict(self, *args)

    SqliteSpool.append, SqliteSpool._evict = append, evict  # type: ignore[method-assign]
    settings: dict[str, object] = {
        "state": state,
        "cloud": cloud,
        "events": str(Path(state) / "events.jsonl"),
        "seed": 1,
        "poll_s": 0.05,
        "status_s": 0.1,
        "quiet_s": 0.3,
        "sampling.gate_quantile": 0.5,
        "sampling.max_sample_share": 1.0,
        "sampling.audit_rate": 0.0,
        "sampling.token_scorer": "magnitude",
        "pace": 60.0,
    }
    config = load_config(None, settings, {})

    def reply(_question: Question, _answer: Any) -> None:
        countdown("answered")

    with (
        stages_followed(countdown),
        answers_followed(reply),
        open_daemon(config, load_pair(pair_dir), FakeRuntime()) as daemon,
        stops_on_signals(daemon),
    ):
        sources = [open_source(Path(path))] if path else []
        stream(daemon, sources, settle_s=0.0, drain_s=10.0, hold=kill_at == "hold")


if __name__ == "__main__":
    main()
