"""A process that appends to a spool and says so, line by line, until it is killed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from driftline_device.spool.sqlite import SqliteSpool
from tests.fakes.samples import encoded, make_sample


def main(path: str, first: int) -> None:
    spool = SqliteSpool(Path(path), max_bytes=1 << 30, max_samples=1 << 20)
    for number in range(first, first + 100_000):
        if number % 7 == 6:
            spool.ack([make_sample(number - 3).id])
            os.write(1, f"acked {number - 3}\n".encode())
        # Large ones too, so that a kill may fall between the pages of one row.
        assert spool.append(encoded(number, payload_bytes=20_000 if number % 5 else 100))
        os.write(1, f"kept {number}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
