"""What holds for every test: property tests have no deadline, since machines are shared and slow."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("driftline", deadline=None)
settings.load_profile("driftline")
