"""`driftline demo --data` on a drift nobody designed for, with a broken row among good ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from driftline_lab.data.streams import Event, Segment, held_out, stream

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def write_rows(path: Path, events: list[Event]) -> None:
    lines = []
    for event in events:
        name = f"{event.image_id}.png"
        # Mirrored, with red and blue exchanged: neither model nor recipe has met this world.
        picture = event.picture()[:, ::-1, ::-1]
        Image.fromarray(picture.copy()).save(path.parent / name)
        row = {"image": name, "question": event.question, "answer": event.answer}
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines) + "\n")


def test_a_users_own_stream_runs_and_a_broken_row_is_named(tmp_path: Path) -> None:
    data, out = tmp_path / "my-world", tmp_path / "result.json"
    data.mkdir()
    write_rows(data / "stream.jsonl", list(stream([Segment(domain="source", num_questions=40)])))
    write_rows(data / "test.jsonl", list(held_out("source", num_questions=24)))
    write_rows(data / "source_test.jsonl", list(held_out("source", num_questions=24, seed=1)))
    rows = (data / "stream.jsonl").read_text().splitlines()
    rows[6] = '{"image": "no-such-picture.png", "question": "what is it?"}'
    rows[10] = "this is not JSON"
    (data / "stream.jsonl").write_text("\n".join(rows) + "\n")

    command = [sys.executable, "-m", "driftline_shared.program.cli", "demo", "--data", str(data)]
    command += ["--json", str(out), "--keep-state", str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    document = json.loads(out.read_text())
    assert set(document["accuracy"]) == {"source", "my-world"}
    assert document["uplink"]["seen"] == 38
    log = (tmp_path / "state" / "device.log").read_text()
    assert "stream.jsonl:7" in log
    assert "stream.jsonl:11" in log


def test_a_folder_that_lacks_a_file_says_which(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "driftline_shared.program.cli",
        "demo",
        "--data",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "stream.jsonl is missing" in done.stderr
    assert "Traceback" not in done.stderr
