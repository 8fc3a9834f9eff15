"""What holds for every test: no deadline for property tests, short tracebacks in logs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from driftline_shared.program.process import set_up_process

set_up_process()

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
_LOGS = structlog.get_config()


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A command that a test runs in this process sets logs up, on a stream that closes with it."""
    yield
    structlog.configure(**_LOGS)
