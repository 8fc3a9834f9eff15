"""What works beside it: `python -m driftline_lab.chaos.programs.work ORDERS`, started by it.

As `python -m driftline_cloud.work`, with the cheap pair's workers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from driftline_shared.program.process import set_up_process


def main(orders: Path) -> None:
    """Read the orders of who serves, work, leave."""
    set_up_process()
    given = json.loads(sys.stdin.buffer.readline())
    from driftline_cloud.config import CloudConfig
    from driftline_cloud.work.process import leave, run_process
    from driftline_lab.chaos.cheap.workers import cheap_makers
    from driftline_lab.chaos.programs.clock import follow_orders
    from driftline_shared.program.logs import setup_logs

    follow_orders()
    setup_logs(form="json", limit_repeats=True)
    config = CloudConfig(**given["config"])
    leave(
        run_process(
            config, cheap_makers(orders), given["owner"], sys.stdin.buffer, line=given["line"]
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
