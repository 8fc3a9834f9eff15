"""What is kept of pictures seen: tower tokens, and the cache of a prompt up to its question.

Bounded in bytes; the longest unused goes first. Tower tokens depend on the picture alone: no
adapter reaches the tower. Everything behind the tower depends on the adapter, so its number is part
of the key, and an answer never mixes versions.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

FEATURE_BYTES = 32 << 20
"""Tower tokens of pictures seen that are kept (32 MiB)."""


def image_digest(image: NDArray[np.uint8]) -> bytes:
    """16 bytes that name a picture of any shape."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


class BoundedCache(Generic[T]):
    """Key -> value with a bound on the bytes of all values; safe from any thread."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()

    @property
    def num_bytes(self) -> int:
        """Bytes of what is held."""
        return self._num_bytes

    def get(self, key: Hashable) -> T | None:
        """The value, from now on the last to go."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: Hashable, value: T, num_bytes: int) -> None:
        """Hold the value, unless it alone is over the bound."""
        with self._lock:
            if num_bytes > self._max_bytes:
                return
            if key in self._held:
                self._num_bytes -= self._held.pop(key)[1]
            self._held[key] = (value, num_bytes)
            self._num_bytes += num_bytes
            while self._num_bytes > self._max_bytes:
                self._num_bytes -= self._held.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()
            self._num_bytes = 0
