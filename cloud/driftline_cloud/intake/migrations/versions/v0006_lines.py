"""Lines that an operator keeps, and devices whose base no line has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the tables; the line of the configured pair is added by the next start."""
    op.create_table(
        "lines",
        sa.Column("id", sa.String(192), primary_key=True),
        sa.Column("pair", sa.Text, nullable=False),
        sa.Column("pair_name", sa.String(128), nullable=False),
        sa.Column("base_model", sa.String(128), nullable=False),
        sa.Column("token_space", sa.String(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("added_unix_s", sa.BigInteger, nullable=False),
        sa.Column("changed_unix_s", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "unknown_devices",
        sa.Column("base_model", sa.String(128), primary_key=True),
        sa.Column("device_id", sa.String(128), primary_key=True),
        sa.Column("pair", sa.String(128), nullable=False),
        sa.Column("last_seen_unix_s", sa.BigInteger, nullable=False),
    )
