"""Questions to the cloud, about updates and policies, and what the owner's budget says to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from driftline_device.link.counters import Counters
from driftline_device.sampling.budget_ledger import Ledger
from driftline_shared.errors import LinkError, Reason


class Questions:
    """Counts them; `ledger` None: no bound."""

    def __init__(self, ledger: Ledger | None, counters: Counters) -> None:
        self._ledger = ledger
        self._counters = counters

    def has_room(self, num_bytes: int) -> bool:
        """Whether one of so many bytes may be asked, counted if so: `asked` is to follow."""
        return self._ledger is None or self._ledger.take(num_bytes, asking=True)

    @contextmanager
    def asked(self, num_bytes: int) -> Iterator[None]:
        """Around the call: one that reached nobody cost nothing."""
        try:
            yield
        except LinkError as error:
            if error.reason is Reason.UNREACHABLE:
                if self._ledger is not None:
                    self._ledger.give_back(num_bytes)
                raise
            self._counters.add(bytes_asked=num_bytes)
            raise
        self._counters.add(bytes_asked=num_bytes)
