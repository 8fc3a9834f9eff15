"""Where a source is read from, and how it is named to people."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceAddress:
    """`target` is a path, a camera's number or a URL; `shown` is for people, without passwords.
    `kind`: its line in `sources.table.SOURCES`.
    """

    kind: str
    target: str
    shown: str

    @property
    def is_url(self) -> bool:
        """Whether it is of the network."""
        return "://" in self.target


def without_secrets(url: str) -> str:
    """`url` without user, password and query: what may stand in logs and errors."""
    # Whatever stands before "://", be it no scheme at all, must not hide what comes after.
    scheme, _, rest = url.partition("://")
    try:
        parts = urlsplit(f"//{rest}")
    except ValueError:
        return f"{scheme}://..."
    host = parts.netloc.rpartition("@")[2]
    return f"{scheme}://{host}{parts.path}"
