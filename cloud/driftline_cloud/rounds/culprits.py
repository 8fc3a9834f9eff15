"""Which items make the work on many of them fail: halving, until each culprit stands alone.

A failure that has nothing to do with items (a worker killed for memory, a cluster that is away)
fails for any of them. So nothing is a culprit before it failed twice alone, and before something
else, a *control*, has succeeded beside it; where nothing succeeds, the failure is nobody's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from driftline_cloud.rounds.leases import LeaseLostError
from driftline_shared.errors import CodecError, ConfigError, DataError, PairError, SampleError

T = TypeVar("T")

OF_ITEM = (CodecError, DataError, SampleError)
"""Errors that are of what was worked on, whatever else fails."""

OF_SET_UP = (ConfigError, LeaseLostError, PairError)
"""Errors that are of no item at all."""

MOST_SUSPECTS = 8
"""Items that may fail alone, one after the other, before anything has succeeded."""

Attempt = Callable[[Sequence[T]], None]


@dataclass(kw_only=True)
class _Search(Generic[T]):
    attempt: Attempt[T]
    control: Attempt[T]
    good: T | None = None
    culprits: list[tuple[T, Exception]] = field(default_factory=list)
    has_control: bool | None = None

    def look(self, items: Sequence[T]) -> None:
        """Work on `items`, in halves where they fail."""
        try:
            self.attempt(items)
        except OF_SET_UP:
            raise
        except Exception as error:
            if len(items) == 1:
                self._suspect(items[0])
                return
            if self.has_control is None and not isinstance(error, OF_ITEM):
                self._check_others(error)  # before the search: a cluster may be away for long
            middle = len(items) // 2
            self.look(items[:middle])
            self.look(items[middle:])
        else:
            self.good = items[0]

    def _suspect(self, item: T) -> None:
        try:
            self.attempt([item])
        except OF_ITEM as again:
            self.culprits.append((item, again))
            return
        except Exception as again:
            self._check_others(again)
            self.culprits.append((item, again))
            if self.good is None and not self.has_control and self._too_many():
                raise
        else:
            self.good = item

    def _check_others(self, error: Exception) -> None:
        """Raise `error` where the control fails, too: then it is no item's."""
        try:
            if self.has_control is not False:
                self.control([])
                self.has_control = True
        except NotImplementedError:
            self.has_control = False
        except Exception:
            raise error from None
        if self.has_control is False and self.good is not None:
            try:
                self.attempt([self.good])
            except Exception:
                raise error from None

    def _too_many(self) -> bool:
        return sum(not isinstance(error, OF_ITEM) for _, error in self.culprits) >= MOST_SUSPECTS


def no_control(_items: Sequence[object]) -> None:
    """Where nothing is known to be good beforehand."""
    raise NotImplementedError


def find_culprits(
    items: Sequence[T], attempt: Attempt[T], *, control: Attempt[T] = no_control
) -> list[tuple[T, Exception]]:
    """The items that fail alone, each with its error; `attempt` succeeded on all others.

    `attempt` works on some items and raises if one is bad; it may be called again for an item.
    `control` works on something that is known to be good. Raises what `attempt` raised where the
    failure is of no item: it is of the set-up, or the control, or everything, fails.
    """
    if not items:
        return []
    search = _Search(attempt=attempt, control=control)
    search.look(items)
    untyped = [error for _, error in search.culprits if not isinstance(error, OF_ITEM)]
    if untyped and search.good is None and not search.has_control:
        raise untyped[0]
    return search.culprits
