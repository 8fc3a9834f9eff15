"""What serves: `python -m driftline_lab.chaos.programs.cloud CONFIG ORDERS`.

As `driftline cloud serve`, with the cheap pair's workers.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from driftline_shared.errors import DriftlineError
from driftline_shared.program.logs import setup_logs
from driftline_shared.program.process import set_up_process

SAID = 3
"""Exit code where it said what keeps it from serving."""


def main(config: Path, orders: Path) -> int:
    """Serve until SIGTERM; the exit code."""
    set_up_process()
    from driftline_cloud.config import load_config
    from driftline_cloud.service.server import serve
    from driftline_lab.chaos.cheap.workers import cheap_makers
    from driftline_lab.chaos.programs.clock import follow_orders

    follow_orders()
    setup_logs(form="json", limit_repeats=True)
    work = [sys.executable, "-m", "driftline_lab.chaos.programs.work", str(orders)]
    try:
        asyncio.run(serve(load_config(config, environment={}), cheap_makers(orders), work=work))
    except DriftlineError as error:
        sys.stderr.write(f"{error}\n{error.fix}\n")
        return SAID
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
