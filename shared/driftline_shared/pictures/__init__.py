"""Pictures from outside, by whichever way they come: one decoding step.

`decoding.py` is that step; `formats.py` says what is read, `modes.py` what a pixel's values mean.
"""

from __future__ import annotations

from driftline_shared.pictures.decoding import (
    KEPT_PIXELS,
    LEAST_PIXELS,
    MAX_PIXELS,
    decode_image,
    read_image,
)
from driftline_shared.pictures.files import MAX_FILE_BYTES, check_file, shown
from driftline_shared.pictures.formats import SUFFIXES

__all__ = [
    "KEPT_PIXELS",
    "LEAST_PIXELS",
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "SUFFIXES",
    "check_file",
    "decode_image",
    "read_image",
    "shown",
]
