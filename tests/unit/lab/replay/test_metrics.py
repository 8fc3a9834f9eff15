"""What a replay counts as it goes."""

from __future__ import annotations

from pathlib import Path

from driftline_lab.replay.cloud.side import ClosedRound, CloudSummary
from driftline_lab.replay.device.device import Given
from driftline_lab.replay.metrics import Tally, metrics_of
from driftline_lab.replay.records import Recorded
from driftline_lab.replay.rounds import Opened


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


def test_what_triggered_a_round_is_not_why_it_ended(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "timeline.jsonl")
    tally.close()
    ends = (("done", "count"), ("rejected", "agreement fell"))
    rounds = tuple(
        ClosedRound(
            number=n, state=state, num_samples=9, reason=reason, target_version=1, numbers={}
        )
        for n, (state, reason) in enumerate(ends, start=1)
    )
    cloud = CloudSummary(num_samples=18, num_waiting=0, newest_version=1, rounds=rounds)
    opened = {n: Opened(number=n, at=9 * n, trigger="count") for n in (1, 2)}
    found = metrics_of(tally, cloud, [], opened, virtual_s=0.0, settled=True)
    assert [(each.trigger, each.reason) for each in found.rounds] == [
        ("count", ""),
        ("count", "agreement fell"),
    ]
