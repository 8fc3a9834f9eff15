"""`python -m driftline_cloud.page`: started by a cloud that serves, and ends with it.

Its standard input has one line of JSON (`database`, `page`, `keys` by role, `log`) and stays open
as long as whoever started it lives.
"""

from __future__ import annotations

import json
import os
import sys
import threading


def main() -> int:
    """Read the orders, show the pages, leave; the exit code."""
    from driftline_shared.program.process import set_up_process

    set_up_process()
    orders = json.loads(sys.stdin.buffer.readline())
    import structlog

    from driftline_cloud.page.program import halt_on_signals, show_pages
    from driftline_cloud.page.settings import PageSettings
    from driftline_cloud.trust.issuer import Role
    from driftline_shared.errors import DriftlineError
    from driftline_shared.program.config import LogConfig
    from driftline_shared.program.logs import setup_logs

    log = LogConfig.model_validate(orders["log"])
    setup_logs(level=log.level, form=log.form, limit_repeats=True)
    halt = halt_on_signals()

    def end_with_parent() -> None:
        # Not by the buffered reader, whose lock this thread would hold when the program ends.
        while os.read(sys.stdin.fileno(), 1 << 10):
            pass
        halt.set()

    threading.Thread(target=end_with_parent, name="parent", daemon=True).start()
    try:
        settings = PageSettings.model_validate(orders["page"])
        keys = {Role(role): key for role, key in orders["keys"].items()}
        show_pages(orders["database"], settings, halt, keys=keys)
    except DriftlineError as error:
        structlog.get_logger(__name__).error("page.failed", error=str(error), fix=error.fix)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
