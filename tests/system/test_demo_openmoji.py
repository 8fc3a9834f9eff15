"""`driftline demo --world openmoji`: the whole path, with a pair that knows nothing of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def test_seen_and_unseen_concepts_and_captions_are_reported_apart(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    command = [sys.executable, "-m", "driftline_shared.program.cli", "demo", "--world", "openmoji"]
    command += ["--segments", "lineart", "--questions", "40", "--tests", "24", "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    document = json.loads(out.read_text())
    assert document["world"] == "openmoji"
    assert list(document["accuracy"]) == ["source", "lineart-seen", "lineart-unseen"]
    assert document["uplink"]["seen"] == 40
    assert document["captions"].keys() == document["accuracy"].keys()
    for scores in document["captions"].values():
        assert scores["before"]["num_captions"] == scores["teacher"]["num_captions"] > 0
        assert 0 <= scores["after"]["cider"] <= scores["after"]["cider_best"] <= 10
    assert "name match" in done.stdout
