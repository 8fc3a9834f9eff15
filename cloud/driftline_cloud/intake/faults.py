"""What an error of the database means, and what an operator does about it."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

_FIXES = (
    (
        ("disk is full", "no space left", "disk full"),
        "Free space on the disk of the database; the cloud goes on by itself.",
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
        ("readonly", "read-only", "unable to open", "permission denied"),
        "Let the cloud's user write to the database's file and folder.",
    ),
    (
        ("connect", "server closed", "terminating"),
        "Start the database server, or correct database_url; the cloud goes on by itself.",
    ),
)
_OTHER = "Look whether the database is up, its file whole and its disk not full."


def cause_of(error: BaseException) -> str:
    """What the database said, without the statement and its values."""
    original = getattr(error, "orig", None) if isinstance(error, SQLAlchemyError) else None
    found = original if original is not None else error
    return f"{type(found).__name__}: {str(found).strip()}"[:300]


def fix_of(error: BaseException) -> str:
    """One sentence that says what to do."""
    text = cause_of(error).lower()
    return next((fix for words, fix in _FIXES if any(word in text for word in words)), _OTHER)
