"""Who is signed in: a cookie that this cloud signed, and a word in each form that only its pages
know.

Nothing is stored: a session ends by its time, and all of them with the key. The form's word keeps
another site's page from giving orders in the name of whoever is signed in here.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

HOURS = 12
MOST_NAME = 64
_MOST_COOKIE = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """`name`: what the operator called themselves. `word`: what each of its forms must say."""

    name: str
    word: str


class Sessions:
    """Makes and reads cookies under one key."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def sign_in(self, key: str, name: str, *, now_s: float) -> str | None:
        """A cookie for who has the key; None for another."""
        if not hmac.compare_digest(key.strip().encode(), self._key):
            return None
        written = urlsafe_b64encode(name[:MOST_NAME].encode()).decode()
        claim = f"{int(now_s) + HOURS * 3_600}.{secrets.token_hex(8)}.{written}"
        return f"{claim}.{self._mark('session', claim)}"

    def read(self, cookie: str, *, now_s: float) -> Session | None:
        """The session of a cookie; None where it is not ours, or over."""
        claim, _, mark = cookie[:_MOST_COOKIE].rpartition(".")
        if not hmac.compare_digest(mark.encode(), self._mark("session", claim).encode()):
            return None
        ends, _, written = claim.split(".")
        if now_s >= int(ends):
            return None
        name = urlsafe_b64decode(written).decode()
        return Session(name=name, word=self._mark("form", claim))

    def _mark(self, use: str, claim: str) -> str:
        return hmac.new(self._key, f"{use}\0{claim}".encode(), hashlib.sha256).hexdigest()
