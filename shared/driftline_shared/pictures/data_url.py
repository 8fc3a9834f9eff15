"""The bytes of a picture in a data URL (RFC 2397), as clients really write them.

Browsers and mail encoders break lines, leave the padding out, use the alphabet that is safe in
URLs, or escape signs by %; none of it can be mistaken for something else.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote_to_bytes

_HEADER = re.compile(
    r"\s*data:image/[\w.+-]{1,64}(?:;\s*[\w.+-]{1,64}=[\w.+-]{1,64}){0,4};\s*base64,", re.A | re.I
)
_SAFE_IN_URLS = bytes.maketrans(b"-_", b"+/")


def payload_of(url: str) -> str | None:
    """What follows the header of a data URL of an image in base64; None if `url` is none."""
    header = _HEADER.match(url)
    return None if header is None else url[header.end() :]


def from_base64(text: str) -> bytes:
    """The bytes that `text` stands for; ValueError saying what is wrong with it."""
    try:
        return base64.b64decode(text, validate=True)  # as most write it, without a copy
    except ValueError:
        pass
    if not text.isascii():
        raise ValueError("a sign that is no letter of base64")
    data = unquote_to_bytes(text) if "%" in text else text.encode("ascii")
    letters = b"".join(data.split()).translate(_SAFE_IN_URLS).rstrip(b"=")
    if len(letters) % 4 == 1:
        raise ValueError("it is cut off: one letter is left over")
    return base64.b64decode(letters + b"=" * (-len(letters) % 4), validate=True)
