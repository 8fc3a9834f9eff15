"""What holds for every test: no deadline for property tests, short tracebacks in logs."""

from __future__ import annotations

import structlog
from hypothesis import settings

# Machines are shared.
settings.register_profile("driftline", deadline=None)
settings.load_profile("driftline")

# The default prints every local variable of every frame: minutes when models are among them.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)
