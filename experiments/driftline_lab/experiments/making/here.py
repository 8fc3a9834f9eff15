"""Runs one after the other, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

import structlog

from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.making.orders import Order, Quarters
from driftline_shared.errors import DriftlineError

_log = structlog.get_logger(__name__)


class Here:
    """The `Makers` protocol over one lab."""

    def __init__(self, lab: Lab, orders: Iterable[Order], report: Callable[[str], None]) -> None:
        self._lab, self._report = lab, report
        self._orders = {each.key: each for each in orders}
        self._failed: dict[str, str] = {}

    def settle(self, keys: Collection[str]) -> dict[str, str]:
        """See `Makers.settle`."""
        for key in keys:
            order = self._orders[key]
            if key not in self._failed and not self._lab.has(order.plan, order.baseline):
                _, why = attempt(self._lab, order, self._report)
                if why:
                    self._failed[key] = why
                    self._report(f"{order.title}: failed: {why}")
        return {key: self._failed[key] for key in keys if key in self._failed}

    def close(self) -> None:
        """See `Makers.close`."""


def attempt(lab: Lab, order: Order, report: Callable[[str], None]) -> tuple[float, str]:
    """Make one run: its seconds, and why it failed, or nothing.

    Whatever goes wrong in a run is that run's alone: the others may be well.
    """
    started = time.perf_counter()
    report(order.title)
    why = ""
    try:
        lab.run(order.plan, order.baseline, Quarters(order.title, report))
    except DriftlineError as error:
        why = f"{error} [{error.reason}]"
    except Exception as error:
        _log.exception("experiment.failed", run=order.title)
        why = f"{type(error).__name__}: {error}"
    return time.perf_counter() - started, why
