"""Databases that hold many samples before anything is measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from driftline_cloud.config import CloudConfig
from driftline_cloud.intake import counts, tables
from driftline_cloud.intake.admission import Quota
from driftline_cloud.intake.counts import USED
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.devices import DeviceRegister
from driftline_cloud.intake.store import SampleStore
from driftline_lab.peers.bare_cloud import FILE, BareStore
from driftline_lab.peers.material import Material
from driftline_shared.wire import EncodedSample

NUM_DEVICES = 200
"""That the samples are of."""

_TOGETHER = 5_000
_FREE = Quota(day_samples=0, day_bytes=0, waiting_samples=0, device_waiting_samples=0)


def fill_cloud(
    state: Path,
    material: Material,
    num_samples: int,
    *,
    seed: int = 1,
    used_share: float = 0.0,
) -> None:
    """Have so many samples in a new cloud's database, by its own store: they wait, but for a share
    of the oldest, which counts as used.
    """
    state.mkdir(parents=True, exist_ok=True)
    database = Database(CloudConfig(state=state).database, durable=False)
    try:
        store, devices = SampleStore(database), DeviceRegister(database)
        now_s, line = int(time.time()), material.line
        for number in range(NUM_DEVICES if num_samples else 0):
            devices.enrol(material.enrolment(_name(number)), line.id, now_unix_s=now_s)
        for number, some in enumerate(_parts(material, num_samples, seed)):
            store.add(
                some,
                device_id=_name(number),
                line=line.id,
                token_space=line.token_space.digest,
                gate_score="entropy",
                quota=_FREE,
                now_unix_s=now_s,
            )
        with database.write() as connection:
            oldest = tables.samples.c.sequence <= int(used_share * num_samples)
            counts.move(connection, oldest, USED)
    finally:
        database.close()


def fill_bare(state: Path, material: Material, num_samples: int, *, seed: int = 1) -> None:
    """Have the same samples in the database of a bare server."""
    state.mkdir(parents=True, exist_ok=True)
    store = BareStore(state / FILE)
    try:
        for number, some in enumerate(_parts(material, num_samples, seed)):
            store.add((_name(number), sample.id, sample.body) for sample in some)
    finally:
        store.close()


def _parts(material: Material, num_samples: int, seed: int) -> Iterator[list[EncodedSample]]:
    """All samples, a few of each device at a time."""
    samples = material.samples(num_samples, seed)
    size = max(1, min(_TOGETHER, -(-num_samples // NUM_DEVICES)))
    while some := list(islice(samples, size)):
        yield some


def _name(number: int) -> str:
    return f"before-{number % NUM_DEVICES}"
