"""`python -m driftline_cloud.work`: started by `service.supervisor`, whose orders it reads."""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Read the orders, work, leave."""
    from driftline_shared.program.process import set_up_process

    set_up_process()
    orders = json.loads(sys.stdin.buffer.readline())
    from driftline_cloud.config import CloudConfig
    from driftline_cloud.service.assembly import Makers
    from driftline_cloud.work.process import leave, run_process
    from driftline_shared.program.logs import setup_logs

    config = CloudConfig(**orders["config"])
    setup_logs(level=config.log.level, form=config.log.form, limit_repeats=True)
    leave(run_process(config, Makers(), orders["owner"], sys.stdin.buffer, line=orders["line"]))


if __name__ == "__main__":
    main()
