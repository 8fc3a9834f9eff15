"""Who may come in, and the tokens that let devices in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the tables; a cloud without an authority keeps them empty."""
    op.create_table(
        "members",
        sa.Column("identity", sa.String(64), primary_key=True),
        sa.Column("label", sa.String(128), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("added_unix_s", sa.BigInteger, nullable=False),
        sa.Column("changed_unix_s", sa.BigInteger, nullable=False),
        sa.Column("not_after_unix_s", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_members_state", "members", ["state"])
    op.create_table(
        "enrol_tokens",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("uses_left", sa.Integer, nullable=False),
        sa.Column("label", sa.String(128), nullable=False),
        sa.Column("made_unix_s", sa.BigInteger, nullable=False),
        sa.Column("expires_unix_s", sa.BigInteger, nullable=False),
    )
