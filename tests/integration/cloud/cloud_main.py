"""A whole cloud as a process, with fake workers: `cloud_main.py STATE PAIR [POINT]`.

POINT (`event:state`) kills it -9 there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from driftline_cloud.config import load_config
from driftline_cloud.rounds.round import Round
from driftline_cloud.service.server import serve
from driftline_shared.program.logs import setup_logs
from tests.fakes.cloud import ReckoningWorkers, fake_makers


def main(state: Path, pair: str, point: str) -> None:
    def watch(event: str, round_: Round) -> None:
        if f"{event}:{round_.state}" == point:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = {
        "state": state,
        "pair": pair,
        "listen": "127.0.0.1:0",
        "rounds.trigger.round_samples": 40,
        "dwc.max_fp16_share": 0.5,
        "drain_s": 5.0,
    }
    setup_logs(form="json")
    makers = fake_makers(ReckoningWorkers(), watch=watch)
    asyncio.run(serve(load_config(None, settings, environment={}), makers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "")
