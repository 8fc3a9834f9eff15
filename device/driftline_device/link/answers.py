"""What the link needs of whoever waits for the teacher's answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from driftline_shared.status import Correction, SampleAck


class Answers(Protocol):
    """Safe from any thread."""

    @property
    def owed(self) -> bool:
        """Whether an answer may still come."""

    def urgent(self) -> Sequence[bytes]:
        """Ids of samples that go before others."""

    def not_waiting(self, sample_ids: Sequence[bytes]) -> None:
        """These of them are not in the spool any more."""

    def acked(self, acks: Sequence[SampleAck]) -> None:
        """The cloud's word on samples that were sent."""

    def take(self, corrections: Sequence[Correction]) -> None:
        """Act upon what came, on the same one once; what it raises has it sent again."""


class NoAnswers:
    """Of a device that never asks."""

    owed = False

    def urgent(self) -> Sequence[bytes]:
        """See `Answers`."""
        return ()

    def not_waiting(self, sample_ids: Sequence[bytes]) -> None:
        """See `Answers`."""

    def acked(self, acks: Sequence[SampleAck]) -> None:
        """See `Answers`."""

    def take(self, corrections: Sequence[Correction]) -> None:
        """See `Answers`."""
