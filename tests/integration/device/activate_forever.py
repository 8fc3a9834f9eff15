"""Writes and activates one version after the other until it is killed: see test_slots_kill.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from driftline_device.updates.slots import Slots


def main() -> None:
    slots = Slots(Path(sys.argv[1]))
    version = slots.pointer().version
    while True:
        version += 1
        adapter = {"w": np.full((64, 64), version, dtype=np.float32)}
        name = slots.write_spare(adapter, version=version, base_model="b")
        slots.activate(name, version)
        print(version, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
