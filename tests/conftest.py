"""What holds for every test: no deadline for property tests, since machines are shared."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("driftline", deadline=None)
settings.load_profile("driftline")
