"""The teacher's answers to single samples: who waits for one, what waits for its device."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the table and its indices."""
    op.create_table(
        "corrections",
        sa.Column("sample_id", sa.LargeBinary(16), primary_key=True),
        sa.Column("device_id", sa.String(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("asked_unix_s", sa.BigInteger, nullable=False),
        sa.Column("changed_unix_s", sa.BigInteger, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("confidence", sa.Float, nullable=False),
        sa.Column("teacher", sa.String(128), nullable=False),
        sa.Column("reason", sa.String(128), nullable=False),
    )
    op.create_index("ix_corrections_device_id", "corrections", ["device_id"])
    op.create_index("corrections_by_state", "corrections", ["state", "asked_unix_s"])
