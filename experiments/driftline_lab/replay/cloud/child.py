"""The cloud of a replay as a process: real gRPC for devices, orders for the rest.

Started by `cloud/process.py` as `python -m driftline_lab.replay.cloud.child`. Orders come as JSON
lines on standard input, one answer a line goes to standard output: first the plan; then
{"now_s", "do": "time" | "step" | "summary"}. Each order first sets the clock. It ends with its
input. Logs go to standard error.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from driftline_cloud.service.assembly import WholeCloud, assemble
from driftline_cloud.service.server import GrpcServer
from driftline_cloud.state import StateFolder
from driftline_lab.replay.clock import VirtualClock
from driftline_lab.replay.cloud import side
from driftline_lab.replay.cloud.makers import CloudPlan, Remembered, replay_makers
from driftline_shared.errors import ConfigError, DriftlineError
from driftline_shared.program.logs import setup_logs
from driftline_shared.program.process import set_up_process


def main(orders: IO[str], answers: IO[str]) -> int:
    """Serve until there are no more orders; the exit code."""
    setup_logs(level="warning")
    plan = json.loads(orders.readline())
    try:
        asyncio.run(_serve(plan, orders, answers))
    except DriftlineError as error:
        usage = isinstance(error, ConfigError)
        _answer(answers, {"error": str(error), "fix": error.fix, "usage": usage})
        return 1
    return 0


async def _serve(values: dict[str, Any], orders: IO[str], answers: IO[str]) -> None:
    cache = values["cache"]
    plan = CloudPlan(
        settings=values["settings"],
        cache=None if cache is None else Path(cache),
        cache_bytes=values["cache_bytes"],
    )
    clock = VirtualClock(values["start_unix_s"])
    config, remembered = plan.config(), Remembered(plan)
    config.state.mkdir(parents=True, exist_ok=True)
    cloud = await asyncio.to_thread(
        assemble, config, StateFolder(config.state), replay_makers(remembered, clock)
    )
    server = GrpcServer(cloud, config)
    try:
        port = await server.open("127.0.0.1:0")
        _answer(answers, {"port": port})
        while order := await asyncio.to_thread(orders.readline):
            await asyncio.to_thread(_obey, json.loads(order), cloud, remembered, clock, answers)
    finally:
        await server.close(0.0)
        await asyncio.to_thread(cloud.close)


def _obey(
    order: dict[str, Any],
    cloud: WholeCloud,
    remembered: Remembered,
    clock: VirtualClock,
    answers: IO[str],
) -> None:
    clock.run_until(order["passed_s"])
    match order["do"]:
        case "step":
            _answer(answers, asdict(side.step(cloud)))
        case "summary":
            _answer(answers, asdict(side.summary(cloud, remembered.hits)))
        case _:
            _answer(answers, {})


def _answer(answers: IO[str], document: dict[str, Any]) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()


if __name__ == "__main__":
    set_up_process()
    sys.exit(main(sys.stdin, sys.stdout))
