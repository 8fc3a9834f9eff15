"""What Pillow and the libraries below it print by themselves: nothing.

A broken picture is told of once, by the error that names it, in the log's form. Each is turned off
where it begins: warnings of Python, Pillow's loggers, libtiff's lines on standard error.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import warnings
from functools import cache

_PILLOW = r"PIL\."
_filters = threading.Lock()


def silence_pillow() -> None:
    """From now on; warnings anew each time, for other code may have reset their filters."""
    _silence_libraries()
    with _filters:
        first = warnings.filters[0][3] if warnings.filters else None
        if first is None or first.pattern != _PILLOW:
            warnings.filterwarnings("ignore", module=_PILLOW)


@cache
def _silence_libraries() -> None:
    from PIL import _imaging

    logging.getLogger("PIL").addHandler(logging.NullHandler())
    try:
        # A library's symbols are looked up in those it is linked with, too.
        linked = ctypes.CDLL(_imaging.__file__)
        linked.TIFFSetErrorHandler(None)
        linked.TIFFSetWarningHandler(None)
    except (OSError, AttributeError):  # a Pillow without libtiff, or with one of its own
        return
