"""A device process: appends samples and sends them, and says what it keeps, until it is killed."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from driftline_device.link.link import Link
from driftline_device.link.settings import LinkSettings
from driftline_device.sampling.budget_ledger import Ledger
from driftline_device.sampling.budget_text import parse_budget
from driftline_device.spool.sqlite import SqliteSpool
from driftline_shared.host.clock import SystemClock
from driftline_shared.retry import Backoff
from driftline_shared.status import Enrolment
from tests.fakes.samples import encoded


def main(folder: str, address: str, first: int, num: int, budget: str = "none") -> None:
    spool = SqliteSpool(Path(folder) / "spool.sqlite", max_bytes=1 << 30, max_samples=1 << 20)
    enrolment = Enrolment(
        device_id="device-1", pair="tiny", token_space="space", base_model="base", adapter_version=0
    )
    settings = LinkSettings(
        address=address,
        batch_samples=4,
        window_samples=12,
        poll_s=0.01,
        backoff=Backoff(first_s=0.02, cap_s=0.1, floor_s=0.01),
    )
    limit, clock = parse_budget(budget), SystemClock()
    ledger = None if limit is None else Ledger(limit, Path(folder), clock)
    link = Link(settings, lambda: enrolment, spool, folder=Path(folder) / "link", ledger=ledger)
    link.start()
    for number in range(first, first + num):
        assert spool.append(encoded(number, payload_bytes=5_000))
        # At the begin of a line whatever the log, which the link's thread writes, is at.
        os.write(1, f"\nkept {number}\n".encode())
        link.wake()
        time.sleep(0.002)  # so that sending and appending mix
    os.write(1, f"\nflushed {link.flush(60.0)}\n".encode())
    link.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
