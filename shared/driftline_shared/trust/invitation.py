"""The one string that an operator gives to a device: where, whom to trust, and why to be let in.

    drift1.<address>.<fingerprint>.<token>      each part in base64url without padding

The fingerprint is the root's. In place of a token stands `ask` where an operator is to accept the
device by hand, so that a string that was cut off is never taken for a whole one.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from driftline_shared.errors import ConfigError
from driftline_shared.program.address import check_address

_HEAD, _ASK = "drift1", "ask"
_FINGERPRINT_BYTES = 32
TOKEN_BYTES = 18
_MOST_CHARS = 600
_MARK = "\N{BYTE ORDER MARK}"
"""That some editors begin a file with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Invitation:
    """`address`: host:port. `root`: fingerprint of the cloud's root, in hex. `token`: a secret, or
    empty.
    """

    address: str
    root: str
    token: str = ""

    def text(self) -> str:
        """As one string."""
        parts = (_text(self.address.encode()), _text(bytes.fromhex(self.root)))
        return ".".join([_HEAD, *parts, self.token or _ASK])


def read_invitation(text: str) -> Invitation:
    """The invitation that `text` is; ConfigError says what is wrong with it."""
    fix = "Copy the whole line that `driftline cloud enrol-token` printed."
    text = text.strip().removeprefix(_MARK).strip()
    parts = text.split(".")
    if len(text) > _MOST_CHARS or parts[0] != _HEAD or len(parts) != 4:
        raise ConfigError(
            f"this is no invitation, which begins with {_HEAD} and has 4 parts", fix=fix
        )
    try:
        address, root = (_bytes(part) for part in parts[1:3])
        token = "" if parts[3] == _ASK else parts[3]
        found = Invitation(address=check_address(address.decode()), root=root.hex(), token=token)
        is_whole = parts[3] == _ASK or len(_bytes(token)) == TOKEN_BYTES
    except (ValueError, binascii.Error) as error:
        raise ConfigError(f"the invitation is damaged: {error}", fix=fix) from error
    if len(root) != _FINGERPRINT_BYTES or not is_whole:
        raise ConfigError("the invitation is cut off, or two of them ran together", fix=fix)
    return found


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def token_text(data: bytes) -> str:
    """A token of `TOKEN_BYTES` random bytes, as it stands in an invitation."""
    return _text(data)
