"""The server's own certificate: made when the cloud starts, made anew before it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from driftline_cloud.trust.issuer import Issuer, Role
from driftline_shared.trust.certificates import due_unix_s, read_chain, to_pem
from driftline_shared.trust.keys import FileKey, new_key
from driftline_shared.trust.newcomers import newcomers_root

_log = structlog.get_logger(__name__)


class ServerIdentity:
    """Key and chain of the moment, for handshakes that come from several threads."""

    def __init__(self, issuer: Issuer, *, now_s: Callable[[], float] = time.time) -> None:
        self._issuer, self._now_s = issuer, now_s
        self._lock = threading.Lock()
        self._make()

    def _make(self) -> None:
        self._key: FileKey = new_key()
        self._chain = self._issuer.issue(self._key.key.public_key(), Role.SERVER)
        self._due_s = due_unix_s(read_chain(self._chain)[0])

    @property
    def pair(self) -> tuple[bytes, bytes]:
        """(key, chain) in PEM."""
        with self._lock:
            return self._key.key_pem, self._chain

    @property
    def trusted(self) -> bytes:
        """Whose certificates a handshake takes: our own, and a newcomer's, which proves nothing."""
        return self._issuer.roots_pem + to_pem([newcomers_root()])

    def renewed(self) -> bool:
        """Whether it was time for a new certificate, which is there now."""
        with self._lock:
            if self._now_s() < self._due_s:
                return False
            self._make()
        _log.info("server.certificate_renewed")
        return True
