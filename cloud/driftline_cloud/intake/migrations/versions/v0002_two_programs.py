"""Serving and working apart: whose folder it is, who works on a line, which versions there are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns and tables; what triggered a round that was no failure is its reason."""
    op.add_column("schema_version", sa.Column("state_id", sa.String(64), nullable=True))
    op.add_column("rounds", sa.Column("trigger", sa.Text, nullable=False, server_default=""))
    op.execute(
        "UPDATE rounds SET trigger = reason WHERE num_errors = 0 AND state NOT IN "
        "('rejected', 'failed')"
    )
    op.create_table(
        "leases",
        sa.Column("line", sa.String(192), primary_key=True),
        sa.Column("owner", sa.String(192), nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("renewed_unix_s", sa.Float, nullable=False),
        sa.Column("expires_unix_s", sa.Float, nullable=False),
    )
    op.create_table(
        "workers",
        sa.Column("owner", sa.String(192), primary_key=True),
        sa.Column("line", sa.String(192), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("started_unix_s", sa.Float, nullable=False),
        sa.Column("seen_unix_s", sa.Float, nullable=False),
    )
    op.create_table(
        "versions",
        sa.Column("line", sa.String(192), primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("round_id", sa.String(256), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("released_unix_s", sa.BigInteger, nullable=False),
    )
