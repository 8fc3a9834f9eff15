"""One line a request, and a flood is bounded."""

from __future__ import annotations

from structlog.testing import capture_logs

from driftline_device.api.traffic.log import BURST, AccessLog
from driftline_device.api.traffic.record import RequestRecord


def test_a_line_says_who_what_and_how_it_ended() -> None:
    with capture_logs() as lines:
        record = RequestRecord("req_1", status=400, code="no_text")
        AccessLog().write(record, method="POST", path="/x" * 99, client="::1", seconds=0.0123)
    (line,) = lines
    assert line == {
        "event": "api.request",
        "log_level": "info",
        "id": "req_1",
        "method": "POST",
        "path": ("/x" * 99)[:100],
        "status": 400,
        "ms": 12.3,
        "client": "::1",
        "code": "no_text",
    }


def test_a_flood_of_refusals_is_bounded_and_hides_no_answer() -> None:
    now_s = 0.0
    log = AccessLog(lambda: now_s)

    def write(status: int) -> None:
        record = RequestRecord("id", status=status)
        log.write(record, method="GET", path="/", client="", seconds=0.0)

    with capture_logs() as lines:
        for _ in range(10_000):
            write(404)
        write(200)
        assert len(lines) == BURST + 1
        now_s = 3600.0
        write(404)
    assert lines[-1]["num_left_out"] == 10_000 - BURST


def test_who_watches_is_not_told_of() -> None:
    with capture_logs() as lines:
        for status in (200, 503):
            record = RequestRecord("id", status=status)
            AccessLog().write(record, method="GET", path="/ready", client="", seconds=0.0)
    assert [line["log_level"] for line in lines] == ["debug", "info"]
