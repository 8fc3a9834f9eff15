"""Rolling back: leave the version in force for the one before it, or for the base model.

Order: the caller has written down that the version failed (it is never tried again); then the
pointer of the slots moves, in one rename; then the state says so. A kill between any two of these
is settled by the next start (`phases.restart`). What is in force then is loaded before the last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from driftline_device.updates import phases
from driftline_device.updates.journal import Journal
from driftline_device.updates.slots import BASE_VERSION, Loaded, Slots
from driftline_shared.errors import Reason
from driftline_shared.p_ik.head import IkHead
from driftline_shared.update import Adapter

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """An adapter and the P(IK) head that judges its answers: they go together, always."""

    adapter: Adapter
    ik_head: IkHead | None


class Rollback:
    """The way back from one version, on `slots` and `journal`; `base` is version 0."""

    def __init__(self, slots: Slots, journal: Journal, *, base: Judged, base_model: str) -> None:
        self._slots = slots
        self._journal = journal
        self._base = base
        self._base_model = base_model

    def leave(self, reason: Reason, load: Callable[[Judged, int], object]) -> None:
        """Point to the earlier version, `load` it, and persist that."""
        left = self._journal.state.version
        earlier = self._slots.fall_back(base_model=self._base_model)
        try:
            load(*self.in_force())
        finally:
            self._journal.settle(phases.roll_back(self._journal.state, earlier, reason))
        _log.warning("update.rolled_back", version=left, to_version=earlier, reason=reason)

    def in_force(self) -> tuple[Judged, int]:
        """What the pointer names now, and its version."""
        loaded = self._slots.recover(base_model=self._base_model)
        return self.judged(loaded), loaded.version if loaded else BASE_VERSION

    def judged(self, loaded: Loaded | None) -> Judged:
        """A slot's adapter with its head (the pair's where an older device wrote the slot), or
        version 0.
        """
        if loaded is None:
            return self._base
        return Judged(adapter=loaded.adapter, ik_head=loaded.ik_head or self._base.ik_head)

    def earlier(self) -> Adapter:
        """The adapter a roll-back would return to; UpdateError where its slot cannot be read."""
        pointer = self._slots.pointer()
        if pointer.previous is None:
            return self._base.adapter
        return self._slots.load(
            pointer.previous, pointer.previous_version, base_model=self._base_model
        ).adapter
