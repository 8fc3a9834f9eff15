"""Doctor's look at feeds, with a daemon's own word where one runs."""

from __future__ import annotations

from pathlib import Path

from driftline_device.config import load_config
from driftline_device.doctor.feeds import check_feeds


def test_a_feed_that_is_away_is_a_warning(tmp_path: Path) -> None:
    there = {"name": "inbox", "source": str(tmp_path), "questions": ["what?"]}
    gone = {"name": "gate", "source": str(tmp_path / "gone"), "questions": ["what?"]}
    both = load_config(overrides={"feeds": [there, gone]}, environment={})
    one = load_config(overrides={"feeds": [there]}, environment={})
    assert check_feeds(one, None, running=False).verdict == "ok"
    found = check_feeds(both, None, running=False)
    assert found.verdict == "warn" and found.found.startswith("gate: ")
    away = {"feeds": {"inbox": {"state": "away", "num_pictures": 7, "error": "it went"}}}
    assert "it went (7 pictures" in check_feeds(one, away, running=True).found
    assert check_feeds(one, away, running=False).verdict == "ok"
