"""What the device remembers about updates: update.json (the state) and failed.json (never again).

failed.json is written before the state that tells of the failure, so a kill between the two can
forget the telling but never the failure. Both files are replaced atomically. A broken file is set
aside under another name and logged: the device goes on with an empty memory instead of not at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import structlog
from pydantic import TypeAdapter

from driftline_device.updates.phases import UpdateState, add
from driftline_shared.errors import Reason
from driftline_shared.host.durable import (
    MAX_JSON_BYTES,
    clear_way,
    error_text,
    make_folder,
    read_bytes,
    read_json,
    set_aside,
    sync_folder,
    write_json,
)
from driftline_shared.status import UpdateReport

MAX_FAILURES = 1_000
"""Most failures remembered; the oldest go first (they are the ones a cloud no longer offers)."""

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A version of one base model that is never tried again, why, and since when (0: unknown)."""

    version: int
    reason: Reason
    base_model: str
    unix_s: float = 0.0


_STATE = TypeAdapter(UpdateState)
_FAILURES = TypeAdapter(tuple[Failure, ...])
_REPORT = TypeAdapter(UpdateReport)


class Journal:
    """The persisted `UpdateState` and the failures of `base_model`, in one folder.

    Version numbers count per base model: what was noted for another one is not used here.
    """

    def __init__(
        self, folder: Path, *, base_model: str, now_s: Callable[[], float] = time.time
    ) -> None:
        with suppress(OSError):  # reads go on without; whoever must write is told
            make_folder(folder)
        self._now_s = now_s
        self._folder = folder
        self._base_model = base_model
        self._unwritten = self._unsaved = False
        owner, state = self._read("update.json", _to_state, (base_model, UpdateState()))
        self._state = state if owner == base_model else UpdateState()
        none: tuple[Failure, ...] = ()
        self._failures = self._read("failed.json", _to_failures, none)
        self._take_outbox(folder / "link" / "reports.jsonl")

    @property
    def state(self) -> UpdateState:
        """As last persisted."""
        return self._state

    @property
    def failed_versions(self) -> dict[int, Reason]:
        """Versions that are never tried again, and why."""
        ours = [each for each in self._failures if each.base_model == self._base_model]
        return {each.version: each.reason for each in ours}

    def save(self, state: UpdateState) -> None:
        """Persist `state`; on return it survives a power cut."""
        row = {"base_model": self._base_model, **asdict(state)}
        write_json(self._folder / "update.json", row, sealed=True)
        self._state, self._unsaved = state, False

    def settle(self, state: UpdateState) -> None:
        """`save` for what has happened already: where the disk takes nothing, `state` holds in this
        process all the same, and is written with the next that the disk takes.
        """
        try:
            self.save(state)
        except OSError as error:
            self._state, self._unsaved = state, True
            self._log_not_kept("update.json", error)

    def remember(self, version: int, reason: Reason) -> None:
        """Never try `version` again; on return it survives a power cut, or, where the disk takes
        nothing, holds in this process, and is written with the next failure that it takes.
        """
        if version in self.failed_versions:
            return
        failure = Failure(
            version=version, reason=reason, base_model=self._base_model, unix_s=self._now_s()
        )
        failures = (*self._failures, failure)[-MAX_FAILURES:]
        rows = [asdict(each) for each in failures]
        self._failures = failures
        try:
            write_json(self._folder / "failed.json", {"failures": rows}, sealed=True)
        except OSError as error:
            self._log_not_kept("failed.json", error)
            self._unwritten = True
        else:
            self._unwritten = False

    def retry(self) -> None:
        """Write what the disk did not take; OSError while it still does not."""
        if self._unsaved:
            self.save(self._state)
        if self._unwritten:
            rows = [asdict(each) for each in self._failures]
            write_json(self._folder / "failed.json", {"failures": rows}, sealed=True)
            self._unwritten = False

    def _log_not_kept(self, name: str, error: OSError) -> None:
        _log.error(
            "journal.not_kept",
            path=str(self._folder / name),
            error=error_text(error),
            fix="Make room, or let the device's user write there; until then this process alone "
            "knows it.",
        )

    def _take_outbox(self, path: Path) -> None:
        """Take over the reports that wait in the link's own file, which 0.1.0 wrote, one a line.

        A kill before the file is gone makes the next start take them again: twice is no harm. A
        file that cannot be read or removed is logged; the device starts all the same.
        """
        try:
            self._take_lines(path)
        except FileNotFoundError:
            return
        except OSError as error:
            _log.error("journal.reports_unreadable", path=str(path), error=str(error))

    def _take_lines(self, path: Path) -> None:
        clear_way(path)
        try:
            lines = (read_bytes(path, MAX_JSON_BYTES) or b"").splitlines()
        except ValueError as error:
            set_aside(path, str(error))
            return
        if not path.exists():
            return
        reports = []
        for line in lines:
            try:
                reports.append(_REPORT.validate_json(line))
            except ValueError as error:
                _log.error("journal.report_broken", file=path.name, error=str(error))
        state = replace(self._state, reports=())
        for report in (*reports, *self._state.reports):
            state = add(state, report)
        self.save(state)
        path.unlink()
        sync_folder(path.parent)

    def _read(self, name: str, convert: Callable[[dict[str, Any]], _T], empty: _T) -> _T:
        path = self._folder / name
        try:
            found = read_json(path)
            return empty if found is None else convert(found)
        except (ValueError, TypeError, KeyError) as error:
            set_aside(path, str(error))
        except OSError as error:
            _log.error("journal.file_unreadable", path=str(path), error=error_text(error))
        return empty


def read_update(path: Path) -> tuple[str, UpdateState] | None:
    """Base model and state in `path`; None if there is none; ValueError, KeyError if broken."""
    found = read_json(path)
    return None if found is None else _to_state(found)


def read_failures(path: Path) -> tuple[Failure, ...]:
    """The failures in `path`; ValueError, KeyError if it is broken."""
    found = read_json(path)
    return () if found is None else _to_failures(found)


def _to_state(found: dict[str, Any]) -> tuple[str, UpdateState]:
    state = _STATE.validate_python(found)
    if min(state.version, state.target) < 0:
        raise ValueError("a version is negative")
    return str(found["base_model"]), state


def _to_failures(found: dict[str, Any]) -> tuple[Failure, ...]:
    return _FAILURES.validate_python(found["failures"])
