"""How far each version has got, which devices it may reach, and who decided so."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the tables; a version without a row is everyone's, as all were until now."""
    op.create_table(
        "rollouts",
        sa.Column("line", sa.String(192), primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("round_id", sa.String(256), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("phase", sa.Integer, nullable=False),
        sa.Column("plan", sa.JSON, nullable=False),
        sa.Column("num_devices", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("restores", sa.BigInteger, nullable=True),
        sa.Column("restore_to", sa.BigInteger, nullable=True),
        sa.Column("followed_by", sa.BigInteger, nullable=True),
        sa.Column("created_unix_s", sa.BigInteger, nullable=False),
        sa.Column("phase_unix_s", sa.BigInteger, nullable=False),
        sa.Column("changed_unix_s", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "rollout_devices",
        sa.Column("line", sa.String(192), primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("device_id", sa.String(128), primary_key=True),
        sa.Column("phase", sa.Integer, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("at_unix_s", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String(128), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("line", sa.String(192), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=True),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("ix_audit_line", "audit", ["line"])
    op.create_index("reports_by_version", "reports", ["line", "version", "device_id", "sequence"])
