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
from collections.abc import Mapping
from dataclasses import dataclass

from driftline_cloud.trust.issuer import Role

HOURS = 12
MOST_NAME = 64
_MOST_COOKIE = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """`name`: what they called themselves. `role`: whose key they signed in with. `word`: what each
    of its forms must say.
    """

    name: str
    role: Role
    word: str


class Sessions:
    """Makes and reads cookies, each signed with the key of its role: no cookie says which it is."""

    def __init__(self, keys: Mapping[Role, str]) -> None:
        self._keys = {role: key.encode() for role, key in keys.items() if key}

    def role_of(self, key: str) -> Role | None:
        """Whose key this is; None: nobody's."""
        given = key.strip().encode()
        found = [role for role, one in self._keys.items() if hmac.compare_digest(given, one)]
        return found[0] if found else None

    def sign_in(self, key: str, name: str, *, now_s: float) -> str | None:
        """A cookie for who has a key; None for another."""
        role = self.role_of(key)
        if role is None:
            return None
        written = urlsafe_b64encode(name[:MOST_NAME].encode()).decode()
        claim = f"{int(now_s) + HOURS * 3_600}.{secrets.token_hex(8)}.{written}"
        return f"{claim}.{self._mark(role, 'session', claim)}"

    def read(self, cookie: str, *, now_s: float) -> Session | None:
        """The session of a cookie; None where it is not ours, or over."""
        claim, _, mark = cookie[:_MOST_COOKIE].rpartition(".")
        signed = [
            role
            for role in self._keys
            if hmac.compare_digest(mark.encode(), self._mark(role, "session", claim).encode())
        ]
        if not signed:
            return None
        role = signed[0]
        ends, _, written = claim.split(".")
        if now_s >= int(ends):
            return None
        name = urlsafe_b64decode(written).decode()
        return Session(name=name, role=role, word=self._mark(role, "form", claim))

    def _mark(self, role: Role, use: str, claim: str) -> str:
        return hmac.new(self._keys[role], f"{use}\0{claim}".encode(), hashlib.sha256).hexdigest()


def may_order(session: Session | None) -> bool:
    """Whether they may do more than look."""
    return session is not None and session.role is Role.OPERATOR


def said_name(session: Session) -> str:
    """Who they are, on pages; a reader's role is said, for it is why there are no forms."""
    if session.role is Role.READER:
        return f"{session.name} (may look)" if session.name else "reader"
    return session.name or "operator"
