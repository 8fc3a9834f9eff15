"""Who hears of a correction: sinks, the file of events, the history."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from driftline_device.escalation.records import Asked
from driftline_device.history.history import History
from driftline_device.sinks.event import CorrectionRecord
from driftline_device.sinks.publisher import Publisher
from driftline_shared.exact_match import is_correct
from driftline_shared.host.clock import Clock
from driftline_shared.status import Correction

_log = structlog.get_logger(__name__)


def tell(
    publisher: Publisher, history: History, clock: Clock
) -> Callable[[Asked, Correction, bool], None]:
    """What `EscalationDesk` calls: nothing that goes wrong there reaches it."""

    def told(asked: Asked, correction: Correction, in_time: bool) -> None:
        record = CorrectionRecord(
            answer_id=asked.answer_id,
            sample=asked.sample,
            unix_s=clock.now_s(),
            feed=asked.feed,
            source=asked.source,
            place=asked.place,
            question=asked.question,
            device_answer=asked.answer,
            answer=correction.answer,
            confidence=correction.confidence,
            agrees=is_correct(asked.answer, correction.answer),
            in_time=in_time,
            version=asked.version,
        )
        try:
            publisher.corrected(record)
            history.correct(asked.answer_id, correction.answer, correction.confidence)
        except Exception:
            _log.exception("correction.not_told", answer=asked.answer_id)

    return told
