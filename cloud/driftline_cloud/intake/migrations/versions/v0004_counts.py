"""Quarantine, samples counted beside themselves, and full updates that were granted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_COUNTED = """
INSERT INTO sample_counts (line, device_id, num_samples, num_waiting, num_quarantined)
SELECT line, {device}, COUNT(*), SUM(CASE WHEN state = 'waiting' THEN 1 ELSE 0 END), 0
FROM samples GROUP BY {group}
"""


def upgrade() -> None:
    """Add the tables; count what is stored, once."""
    op.create_table(
        "quarantine",
        sa.Column("sample_id", sa.LargeBinary(16), primary_key=True),
        sa.Column("line", sa.String(192), nullable=False),
        sa.Column("device_id", sa.String(128), nullable=False),
        sa.Column("round_id", sa.String(256), nullable=False),
        sa.Column("reason", sa.String(128), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("quarantined_unix_s", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_quarantine_line", "quarantine", ["line"])
    op.create_table(
        "sample_counts",
        sa.Column("line", sa.String(192), primary_key=True),
        sa.Column("device_id", sa.String(128), primary_key=True),
        sa.Column("num_samples", sa.BigInteger, nullable=False),
        sa.Column("num_waiting", sa.BigInteger, nullable=False),
        sa.Column("num_quarantined", sa.BigInteger, nullable=False),
    )
    op.create_index("samples_by_device", "samples", ["line", "state", "device_id", "sequence"])
    op.execute(_COUNTED.format(device="''", group="line"))
    op.execute(_COUNTED.format(device="device_id", group="line, device_id"))
    op.create_table(
        "full_grants",
        sa.Column("device_id", sa.String(128), primary_key=True),
        sa.Column("granted_unix_s", sa.BigInteger, nullable=False),
        sa.Column("is_open", sa.Integer, nullable=False),
    )
