"""Which samples are under way: bookkeeping of one stream, without threads, clocks or sockets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sent:
    sequence: int
    num_bytes: int
    sent_s: float


class Window:
    """Samples sent on one stream and not yet answered, bounded in bytes and number.

    A broken stream's window is thrown away: everything in the spool is then unsent again.
    `cursor` is how far the spool has been read: what lies before it is under way or gone. A
    sample to be sent again moves the cursor back before it, and `is_under_way` keeps those behind
    it from being sent twice.
    """

    def __init__(self, *, max_bytes: int, max_samples: int) -> None:
        self._max_bytes = max_bytes
        self._max_samples = max_samples
        self._sent: dict[bytes, _Sent] = {}
        self._num_bytes = 0
        self.cursor = 0

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def room_bytes(self) -> int:
        """Bytes that may be sent now; 0 if there are as many samples under way as allowed."""
        if len(self._sent) >= self._max_samples:
            return 0
        return max(0, self._max_bytes - self._num_bytes)

    @property
    def room_samples(self) -> int:
        """Samples that may be sent now."""
        return max(0, self._max_samples - len(self._sent))

    @property
    def oldest_s(self) -> float | None:
        """When the longest waiting sample was sent; None if none is under way."""
        # Samples enter in the order they are sent, and a dict keeps it.
        return next((sent.sent_s for sent in self._sent.values()), None)

    def sent_s(self, sample_id: bytes) -> float | None:
        """When it was sent on this stream; None if it is not under way."""
        sent = self._sent.get(sample_id)
        return None if sent is None else sent.sent_s

    def is_under_way(self, sample_id: bytes) -> bool:
        """Whether it was sent on this stream and is not answered."""
        return sample_id in self._sent

    def send(
        self,
        sample_id: bytes,
        *,
        sequence: int,
        num_bytes: int,
        now_s: float,
        ahead: bool = False,
    ) -> None:
        """Note a sample as sent; one that went `ahead` of others does not move the cursor."""
        if sample_id in self._sent:
            raise ValueError("the sample is under way already")
        self._sent[sample_id] = _Sent(sequence=sequence, num_bytes=num_bytes, sent_s=now_s)
        self._num_bytes += num_bytes
        if not ahead:
            self.cursor = max(self.cursor, sequence)

    def pass_over(self, sequence: int) -> None:
        """Read on behind `sequence`, which is under way already."""
        self.cursor = max(self.cursor, sequence)

    def rewind(self) -> None:
        """Read from the start if nothing is under way: whatever is in the spool then is unsent."""
        if not self._sent:
            self.cursor = 0

    def settle(self, sample_id: bytes) -> None:
        """The cloud's answer ends the sample's way: stored, known or refused."""
        self._drop(sample_id)

    def send_again(self, sample_id: bytes) -> None:
        """The cloud asks for it later: it is read from the spool anew."""
        sent = self._drop(sample_id)
        if sent is not None:
            self.cursor = min(self.cursor, sent.sequence - 1)

    def _drop(self, sample_id: bytes) -> _Sent | None:
        sent = self._sent.pop(sample_id, None)
        if sent is not None:
            self._num_bytes -= sent.num_bytes
        return sent
