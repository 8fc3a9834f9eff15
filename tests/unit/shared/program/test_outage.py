"""The trouble of a loop: told when it comes, when it changes, hourly, and when it is over."""

from __future__ import annotations

import structlog.testing

from driftline_shared.program.outage import Outage
from driftline_shared.program.repeats import EVERY_S
from tests.fakes.clock import FakeClock


def test_an_outage_is_told_once_an_hour_and_when_its_cause_changes() -> None:
    clock = FakeClock()
    outage = Outage("x.failed", "x.works_again", monotonic_s=clock.monotonic_s, line="l")
    with structlog.testing.capture_logs() as lines:
        outage.is_over()
        for _ in range(3 * int(EVERY_S)):
            outage.came("the disk is full", "Make room.")
            clock.advance(1.0)
        outage.came("the disk is gone", "Mount it.")
        assert outage.trouble == "the disk is gone. Mount it."
        outage.is_over()
        outage.is_over()
    assert [line["event"] for line in lines] == [*["x.failed"] * 4, "x.works_again"]
    assert lines[0]["fix"] == "Make room." and lines[-1]["after"].startswith("the disk is gone")
    assert outage.trouble == ""
