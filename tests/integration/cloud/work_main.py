"""What works, as a process with fake workers, started by `service.supervisor`: `work_main [POINT
...]` with points as in `cloud_main`, each of which kills once; `hang:label`, `hang:distil`,
`hang:score`: that work takes ten minutes and hears nothing; `drifting`: the workers know drifts.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from driftline_cloud.config import CloudConfig
from driftline_cloud.rounds.round import Round
from driftline_cloud.work.process import leave, run_process
from driftline_shared.program.logs import setup_logs
from tests.fakes.cloud import ReckoningWorkers, fake_makers
from tests.fakes.drifting import DriftingWorkers


def main(points: list[str]) -> None:
    orders = json.loads(sys.stdin.buffer.readline())
    config = CloudConfig(**orders["config"])
    setup_logs(form="json")

    def watch(event: str, round_: Round) -> None:
        for who, process in (("work", os.getpid()), ("serve", os.getppid())):
            point = f"{who}:{event}:{round_.state}"
            mark = config.state / f"killed-{point}"
            if point in points and not mark.exists():
                mark.touch()
                os.kill(process, signal.SIGKILL)
                # Until the end of its pipe is noticed, what works could go on past the next point.
                time.sleep(600)

    def hang(where: str) -> None:
        if f"hang:{where}" in points:
            (config.state / "hangs").touch()
            time.sleep(600)

    kind = DriftingWorkers if "drifting" in points else ReckoningWorkers
    makers = fake_makers(kind(hook=hang), watch=watch)
    leave(run_process(config, makers, orders["owner"], sys.stdin.buffer, line=orders["line"]))


if __name__ == "__main__":
    main(sys.argv[1:])
