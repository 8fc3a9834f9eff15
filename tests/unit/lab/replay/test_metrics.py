"""What a replay counts as it goes."""

from __future__ import annotations

from pathlib import Path

from driftline_lab.replay.cloud.side import CloudSummary
from driftline_lab.replay.device.device import Given
from driftline_lab.replay.metrics import Tally, metrics_of
from driftline_lab.replay.records import Recorded


def test_domains_are_in_the_order_the_trace_met_them(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "timeline.jsonl")
    given = Given(text="red", version=0, uncertainty=None, sent=False, num_bytes=0)
    for domain in ("night", "source", "fog", "night"):
        record = Recorded(
            at_s=0.0, device="d", question="q", answer="red", domain=domain, reference="red"
        )
        tally.answered(record, given)
    tally.close()
    cloud = CloudSummary(num_samples=0, num_waiting=0, newest_version=0, rounds=())
    found = metrics_of(tally, cloud, [], {}, virtual_s=0.0, settled=True)
    assert list(found.accuracy) == ["source", "night", "fog"]
    assert found.accuracy["night"].num_questions == 2
