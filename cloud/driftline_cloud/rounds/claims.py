"""Claims of a round on the samples that wait, in the database: see `shares` for the rule."""

from __future__ import annotations

from sqlalchemy import Connection, select

from driftline_cloud.intake import counts, tables
from driftline_cloud.intake.counts import WAITING
from driftline_cloud.rounds.shares import Claim, Shares, claim

_SECONDS_A_DAY = 86_400

RECENT_DAYS = 2
"""Calendar days (UTC), today included, on which a device that sent counts. A device that only
others' silence would leave alone must not have a round to itself at once; one that is alone for so
long may.
"""


def claim_of(connection: Connection, line: str, shares: Shares) -> Claim:
    """What a round that starts now takes of what waits on `line`."""
    waiting = counts.waiting_by_device(connection, line)
    return claim(waiting, shares, num_devices=_num_devices(connection, line, shares, set(waiting)))


def claimed_sequences(connection: Connection, line: str, taken: Claim) -> list[int]:
    """Sequences of the samples of `taken`, the oldest of each device, in rising order."""
    samples = tables.samples
    waiting = (samples.c.line == line) & (samples.c.state == WAITING)
    found: list[int] = []
    if counts.of_line(connection, line).num_waiting == taken.num_taken:
        query = select(samples.c.sequence).where(waiting).order_by(samples.c.sequence)
        return list(connection.execute(query).scalars())
    for device_id, count in taken.quota.items():
        query = (
            select(samples.c.sequence)
            .where(waiting, samples.c.device_id == device_id)
            .order_by(samples.c.sequence)
            .limit(count)
        )
        found += connection.execute(query).scalars() if count else ()
    return sorted(found)


def _num_devices(connection: Connection, line: str, shares: Shares, waiting: set[str]) -> int:
    """Devices of the line that sent lately or whose samples wait, as far as their number counts."""
    if shares.device_share >= 1 or len(waiting) >= shares.enough_devices:
        return len(waiting)
    known, usage = tables.sample_counts, tables.usage
    first_day = shares.now_unix_s // _SECONDS_A_DAY - RECENT_DAYS + 1
    query = (
        select(known.c.device_id)
        .join(usage, usage.c.device_id == known.c.device_id)
        .where(known.c.line == line, usage.c.day >= first_day)
        .distinct()
        .limit(shares.enough_devices)
    )
    return len(waiting | {str(one) for one in connection.execute(query).scalars()})
