"""The schema of 0.1.0: where upgrades begin. A new database is made whole by `tables` instead."""

from __future__ import annotations

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing: a database of 0.1.0 is so already."""
