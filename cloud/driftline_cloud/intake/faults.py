"""What an error of the database, of a disk or of the artifact store means, and what an operator
does about it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError, TimeoutError

from driftline_cloud.blobs.store import StoreAwayError
from driftline_shared.errors import DriftlineError, Reason, explain
from driftline_shared.host.durable import PASSING
from driftline_shared.program.outage import Outage

_GONE = ("connect", "server closed", "terminating", "shutting down", "starting up")
_FIXES = (
    (
        ("disk is full", "no space left", "disk full"),
        "Free space there; the cloud goes on by itself.",
    ),
    (
        ("malformed", "not a database", "disk i/o error", "corrupt"),
        "The file is broken: stop the cloud and put a backup in its place (or what "
        "`sqlite3 FILE .recover` gives).",
    ),
    (
        ("locked", "deadlock"),
        "Another program writes to the database for long; the cloud tries again by itself.",
    ),
    (
        ("readonly", "read-only", "unable to open", "permission denied", "not permitted"),
        "Let the cloud's user write there, or remount the disk; the cloud goes on by itself.",
    ),
    (
        _GONE,
        "Start the database server, or correct database_url; the cloud goes on by itself.",
    ),
)
_OTHER = "Look whether the database is up, its file whole and its disk not full."

_WORDS = (
    (("disk is full", "no space left", "disk full"), "no space left on {place}"),
    (("readonly", "read-only"), "{place} is read-only"),
    (("unable to open", "permission denied"), "no permission to write {place}"),
    (("locked", "deadlock"), "{place} is locked by another program"),
    (_GONE, "{place} is away"),
)
_ERRNO_WORDS = {
    errno.ENOSPC: "no space left on {place}",
    errno.EDQUOT: "no space left on {place} (quota)",
    errno.EROFS: "{place} is read-only",
    errno.EACCES: "no permission to write {place}",
    errno.EPERM: "no permission to write {place}",
}


def trouble_of(error: BaseException, place: str) -> str:
    """What is full, read-only, locked or away, and where; in one clause. `place`: of the database,
    or of a file that the error does not name.
    """
    found = _passing(error)
    if isinstance(found, StoreAwayError):
        return str(found)
    if isinstance(found, OSError):
        words = _ERRNO_WORDS.get(found.errno or 0)
        where = os.fsdecode(found.filename) if isinstance(found.filename, str | bytes) else place
        return words.format(place=where) if words else f"{where}: {found.strerror}"
    if isinstance(found, SQLAlchemyError):
        text = cause_of(found).lower()
        for names, words in _WORDS:
            if any(name in text for name in names):
                return words.format(place=place)
        return f"{place}: {cause_of(found)}"
    return str(error) if isinstance(error, DriftlineError) else cause_of(error)


def is_passing(error: BaseException) -> bool:
    """Whether a disk, a store or the database keeps the work from going on, and may get well by
    itself.
    """
    return _passing(error) is not None


def _passing(error: BaseException) -> OSError | SQLAlchemyError | StoreAwayError | None:
    for one in _with_causes(error):
        if isinstance(one, StoreAwayError):
            return one
        if isinstance(one, OSError) and one.errno in PASSING:
            return one
        if isinstance(one, TimeoutError) or (
            isinstance(one, OperationalError)
            and any(word in cause_of(one).lower() for words, _ in _WORDS for word in words)
        ):
            return one
        if isinstance(one, DBAPIError) and one.connection_invalidated:
            return one
    return None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    for _ in range(8):
        if found is None:
            return
        yield found
        found = found.__cause__


def cause_of(error: BaseException) -> str:
    """What the database said, without the statement and its values."""
    original = getattr(error, "orig", None) if isinstance(error, SQLAlchemyError) else None
    found = original if original is not None else error
    return f"{type(found).__name__}: {str(found).strip()}"[:300]


def writing(what: str) -> Outage:
    """The outage of whoever writes `what`. Each has one of its own: where a disk is nearly full, a
    small write that still fits must not end what is told of a larger one.
    """
    return Outage("store.write_failed", "store.writes_again", what=what)


def say(outage: Outage, error: Exception, place: str) -> None:
    """That a loop failed of `error`: the words of a disk, a database or ours; of anything else the
    traceback, too. `place`: as of `trouble_of`.
    """
    if is_passing(error) or isinstance(error, SQLAlchemyError):
        detail = cause_of(error.__cause__ or error)
        outage.came(trouble_of(error, place), fix_of(error), detail=detail)
    elif isinstance(error, DriftlineError):
        outage.came(str(error), error.fix)
    else:
        outage.came(cause_of(error), explain(Reason.INTERNAL), error=error)


def fix_of(error: BaseException) -> str:
    """One sentence that says what to do."""
    found = _passing(error) or error
    if isinstance(found, StoreAwayError):
        return found.fix
    text = cause_of(found).lower()
    return next((fix for words, fix in _FIXES if any(word in text for word in words)), _OTHER)
