"""Structured logs: one line an event, JSON for machines or text for people, on stderr, and as JSON
in a file where one is asked for.

The file is rotated by size: `name`, then `name.1` (the newest of the older ones) to `name.KEEP`.
"""

from __future__ import annotations

import logging
import sys
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from driftline_shared.host.appended import AppendedFile
from driftline_shared.host.durable import error_text, make_folder
from driftline_shared.plain_text import visible
from driftline_shared.program.repeats import RepeatLimit, remembered

LogFormat = Literal["text", "json"]
LEVELS = ("debug", "info", "warning", "error", "critical")
"""Names of the levels, rising."""

_LOGGER = "driftline"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogFile:
    """A file of at most `max_bytes`, and `keep` (1 or more) older ones beside it."""

    path: Path
    max_bytes: int
    keep: int


def setup_logs(
    *,
    level: str = "info",
    form: LogFormat = "text",
    file: LogFile | None = None,
    limit_repeats: bool = False,
) -> None:
    """Configure structlog for this process; called once, by a command, never at import.

    `limit_repeats`: what says the same again and again is told once, then hourly (`RepeatLimit`).
    A file that cannot be written, whatever stands there, is said once; it is tried at each line.
    """
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        *([RepeatLimit(memory=remembered())] if limit_repeats else []),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _spell_out,
    ]
    factory: structlog.typing.WrappedLogger
    if file is None:
        processors += _rendering(form)
        factory = structlog.PrintLoggerFactory(file=sys.stderr)
    else:
        logger = _open_logger(form, file)
        processors.append(structlog.stdlib.ProcessorFormatter.wrap_for_formatter)

        def factory(*_: object) -> logging.Logger:
            return logger

    structlog.configure(
        processors=processors, logger_factory=factory, cache_logger_on_first_use=False
    )
    set_log_level(level)


def _spell_out(
    _logger: object, _method: str, line: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Nothing in a line is obeyed by the terminal that shows it: peers choose some of its words."""
    return {key: visible(one) if isinstance(one, str) else one for key, one in line.items()}


def set_log_level(level: str) -> None:
    """Leave out what is below `level` from now on; every logger of this process obeys."""
    structlog.configure(
        **{
            **structlog.get_config(),
            "wrapper_class": structlog.make_filtering_bound_logger(
                logging.getLevelNamesMapping()[level.upper()]
            ),
        }
    )


def close_logs() -> None:
    """Close the file, if there is one; what is logged later goes nowhere."""
    logger = logging.getLogger(_LOGGER)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def _rendering(form: LogFormat) -> list[structlog.typing.Processor]:
    """From an event to one line, or for people to a few."""
    if form == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [console_renderer(colors=sys.stderr.isatty())]


def console_renderer(*, colors: bool) -> structlog.dev.ConsoleRenderer:
    """What makes a line for people of an event."""
    # The default formatter prints every local variable: slow, and it would show user data.
    return structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback
    )


def _open_logger(form: LogFormat, file: LogFile) -> logging.Logger:
    """One logger with two ways out; structlog has filtered before."""
    with suppress(OSError):  # said at the first line
        make_folder(file.path.parent)
    to_file = _ToFile(file)
    close_logs()
    logger = logging.getLogger(_LOGGER)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    handlers: list[tuple[logging.Handler, LogFormat]] = [
        (logging.StreamHandler(sys.stderr), form),
        (to_file, "json"),
    ]
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    for handler, its_form in handlers:
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(processors=[remove_meta, *_rendering(its_form)])
        )
        logger.addHandler(handler)
    return logger


class _ToFile(logging.Handler):
    """Where the file takes no line, the log says so once an outage, on standard error."""

    def __init__(self, file: LogFile) -> None:
        super().__init__()
        self._path = file.path
        self._file = AppendedFile(file.path, max_bytes=file.max_bytes, keep=file.keep)
        self._fails = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._file.append(self.format(record))
        except OSError as error:
            if not self._fails:
                self._fails = True
                _log.error(
                    "log.not_written",
                    path=str(self._path),
                    error=error_text(error),
                    fix="Lines go to standard error alone, and the file is tried again at each: "
                    "make room, let the device's user write there, or correct log.file.",
                )
        else:
            if self._fails and self._file.has_room:
                self._fails = False
                _log.info("log.written_again", path=str(self._path))

    def close(self) -> None:
        with self.lock or nullcontext():
            self._file.close()
        super().close()
