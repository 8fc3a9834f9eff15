"""Who holds a key of the local API, what it opens, and how often: a TOML file that an owner writes.

[dashboard]
token = "…"             16 characters or more
scopes = ["look"]       ask: questions; look: status and metrics; owner: history and marks
per_minute = 60         requests; 0: no limit
"""

from __future__ import annotations

import hashlib
import hmac
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Any

from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import read_bytes
from driftline_shared.plain_text import visible

MIN_TOKEN_CHARS = 16
"""A shorter bearer token can be guessed."""

MAX_KEYS = 256
MAX_FILE_BYTES = 64 << 10
MOST_A_MINUTE = 1_000_000
_MINUTE_S = 60.0


class Scope(StrEnum):
    """What a key opens."""

    ASK = "ask"
    LOOK = "look"
    OWNER = "owner"


EVERYTHING = frozenset(Scope)


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """`name`: for logs. `per_minute`: requests, as many at once; 0: any number."""

    name: str
    scopes: frozenset[Scope] = EVERYTHING
    per_minute: int = 0


class Holders:
    """Holders by the digest of their token: what is compared tells nothing by its time."""

    def __init__(self, tokens: Mapping[str, Holder]) -> None:
        """`tokens`: holders by token; ConfigError where two have one."""
        self._by_digest = {_digest(token): holder for token, holder in tokens.items()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Holders) and self._by_digest == other._by_digest

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        return bool(self._by_digest)

    def find(self, token: str) -> Holder | None:
        """Who holds it; None: nobody."""
        given = _digest(token)
        found = None
        for digest, holder in self._by_digest.items():
            if hmac.compare_digest(digest, given):
                found = holder
        return found


class Limits:
    """How many requests each holder has left in this minute; for any thread."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s, self._lock = monotonic_s, Lock()
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, holder: Holder) -> float:
        """Take a request; 0.0 if it may pass, else the seconds until one may."""
        if not holder.per_minute:
            return 0.0
        most, now_s = float(holder.per_minute), self._monotonic_s()
        with self._lock:
            left, at_s = self._left.get(holder.name, (most, now_s))
            left = min(most, left + (now_s - at_s) * most / _MINUTE_S)
            passes = left >= 1.0
            self._left[holder.name] = (left - 1.0 if passes else left, now_s)
        return 0.0 if passes else (1.0 - left) * _MINUTE_S / most


def check_token(token: str, name: str) -> None:
    """Raise ValueError for a token that can be guessed, or that no header can carry."""
    if len(token) < MIN_TOKEN_CHARS or not token.isascii() or not token.isprintable():
        raise ValueError(
            f"{name} needs {MIN_TOKEN_CHARS} or more printable ASCII characters, for example of "
            "`openssl rand -hex 32`"
        )
    if token != token.strip():
        raise ValueError(f"{name} begins or ends with a space, which no request can bring along")


def open_to_others(path: Path) -> str:
    """What others may do with a file of secrets, in words; empty: nothing that matters. Who is in
    its group may read it: a daemon may have it from there.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return ""
    if mode & 0o022:
        return f"others may write it (mode {mode:o})"
    return f"everybody on this machine may read it (mode {mode:o})" if mode & 0o004 else ""


def read_holders(path: Path) -> dict[str, Holder]:
    """The holders in a file, by token; ConfigError that names what is wrong with it, and no
    token.
    """
    try:
        data = read_bytes(path, MAX_FILE_BYTES)
        if data is None:
            raise OSError("it is not there")
        tables = tomllib.loads(data.decode("utf-8"))
    except RecursionError:
        raise ConfigError(f"api.keys_file: {path} cannot be read: it is nested too deep") from None
    except (OSError, ValueError) as error:
        # Of a file that does not parse the parser's words alone: its lines hold tokens.
        raise ConfigError(f"api.keys_file: {path} cannot be read: {error}") from None
    if not tables or len(tables) > MAX_KEYS:
        raise ConfigError(
            f"api.keys_file: {path} has {len(tables)} keys, and needs 1 to {MAX_KEYS}",
            fix="Write a table a key: [NAME] with token and scopes.",
        )
    found: dict[str, Holder] = {}
    for name, table in tables.items():
        token, holder = _holder(f"api.keys_file: [{visible(name)[:64]}]", name, table)
        if token in found:
            raise ConfigError(
                f"api.keys_file: [{visible(name)[:64]}] has the token of "
                f"[{visible(found[token].name)[:64]}]",
                fix="Give each key a token of its own.",
            )
        found[token] = holder
    return found


def _holder(place: str, name: str, table: Any) -> tuple[str, Holder]:
    fix = 'Write it so: token = "…", scopes = ["ask"], per_minute = 60.'
    known = {"token", "scopes", "per_minute"}
    if not isinstance(table, dict) or not set(table) <= known or len(name) > 64:
        raise ConfigError(f"{place} may have token, scopes and per_minute alone", fix=fix)
    token, scopes, per_minute = (table.get(key) for key in ("token", "scopes", "per_minute"))
    try:
        check_token(token if isinstance(token, str) else "", f"{place} token")
        known_scopes = list(Scope)
        if not isinstance(scopes, list) or not scopes or any(x not in known_scopes for x in scopes):
            raise ValueError(f"{place} scopes: a list of {', '.join(Scope)}")
        wanted = frozenset(Scope(one) for one in scopes)
    except ValueError as error:
        raise ConfigError(str(error), fix=fix) from None
    per_minute = 0 if per_minute is None else per_minute
    if type(per_minute) is not int or not 0 <= per_minute <= MOST_A_MINUTE:
        raise ConfigError(f"{place} per_minute: a whole number up to {MOST_A_MINUTE:,}", fix=fix)
    return str(token), Holder(name=name, scopes=wanted, per_minute=per_minute)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
