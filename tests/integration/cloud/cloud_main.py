"""What serves, as a process, with fake workers in a process beside it: `cloud_main.py STATE PAIR
[POINT ...]`.

POINT is `WHO:event:state`: `work` kills itself -9 there, once, or `serve` is killed by it.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from driftline_cloud.config import load_config
from driftline_cloud.service.server import serve
from driftline_shared.program.logs import setup_logs
from tests.fakes.cloud import ReckoningWorkers, fake_makers


def main(state: Path, pair: str, points: list[str]) -> None:
    settings = {
        "state": state,
        "pair": pair,
        "listen": "127.0.0.1:0",
        "rounds.trigger.round_samples": 40,
        "rounds.poll_s": 0.05,
        "dwc.max_fp16_share": 0.5,
        "drain_s": 5.0,
        "work.restart_s": 0.05,
        "work.most_restart_s": 0.1,
    }
    setup_logs(form="json")
    config = load_config(None, settings, environment={})
    work = [sys.executable, "-m", "tests.integration.cloud.work_main", *points]
    asyncio.run(serve(config, fake_makers(ReckoningWorkers()), work=work))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
