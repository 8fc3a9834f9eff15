"""`driftline demo` of a user's own stream, with a broken row among good ones, and of OpenMoji."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from driftline_device.sources.dataset import DatasetSource
from driftline_lab.data.streams import Event, Segment, held_out, stream
from driftline_lab.demo.processes import command
from driftline_lab.runs.folder import read_run

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    words = command("demo", *arguments)
    return subprocess.run(words, capture_output=True, text=True, timeout=280, check=False)


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

    run, page = tmp_path / "run", tmp_path / "page.html"
    done = demo(
        "--data", str(data), "--json", str(out), "--keep-state", str(tmp_path / "state"),
        "--out", str(run), "--report", str(page),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    document = json.loads(out.read_text())
    assert set(document["accuracy"]) == {"source", "my-world"}
    assert document["uplink"]["seen"] == 38
    log = (tmp_path / "state" / "device.log").read_text()
    assert "stream.jsonl:7" in log
    assert "stream.jsonl:11" in log

    left = read_run(run)
    timeline = list(left.timeline())
    assert (left.info.kind, left.info.world, len(timeline)) == ("demo", "my-world", 38)
    assert set(left.metrics.accuracy) == {"source", "my-world"}
    assert left.metrics.uplink.bytes == sum(row.bytes for row in timeline)
    assert left.info.policy["token_share"] == 0.5
    # Broken rows shift the stream's lines, not the answers: each picture is of its own question.
    asked = list(DatasetSource(data / "stream.jsonl"))
    assert len(left.pictures) == min(6, left.metrics.uplink.sent) > 0
    assert all(each.question == asked[each.n - 1].text for each in left.pictures)
    assert page.read_text().startswith("<!doctype html>")


def test_a_folder_that_lacks_a_file_says_which(tmp_path: Path) -> None:
    done = demo("--data", str(tmp_path))
    assert done.returncode == 1
    assert "stream.jsonl is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_seen_and_unseen_concepts_and_captions_are_reported_apart(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    done = demo(
        "--world", "openmoji", "--segments", "lineart", "--questions", "40", "--tests", "24",
        "--json", str(out),
    )  # fmt: skip
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
