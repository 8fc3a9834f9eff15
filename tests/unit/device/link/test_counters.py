"""What fails now, in words: what has mended itself is no error any more."""

from __future__ import annotations

from driftline_device.link.counters import Counters
from driftline_shared.errors import LinkError, Reason


def test_the_newest_failure_that_is_not_over() -> None:
    counters = Counters()
    assert counters.last_error() == ""
    counters.note("control", LinkError("no cloud", reason=Reason.UNREACHABLE))
    counters.note("check", LinkError("busy", reason=Reason.STORE_BUSY))
    assert counters.last_error() == "store_busy: busy"
    counters.note("control", LinkError("still none", reason=Reason.UNREACHABLE))
    assert counters.last_error() == "unreachable: still none"
    assert counters.last_error(but=["control"]) == "store_busy: busy"
    counters.works("control")
    assert counters.last_error() == "store_busy: busy"
    counters.works("check", "fetch")
    assert counters.last_error() == ""
