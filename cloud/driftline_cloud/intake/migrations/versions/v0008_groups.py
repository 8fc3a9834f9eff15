"""Lines of groups of devices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the columns; every line there is has no group and no parent."""
    for column in (
        sa.Column("group", sa.String(64), nullable=False, server_default=""),
        sa.Column("parent", sa.String(192), nullable=False, server_default=""),
        sa.Column("forked_version", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("least_version", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("num_moves", sa.BigInteger, nullable=False, server_default="0"),
    ):
        op.add_column("lines", column)
