"""Feeds of a whole device: two cameras of the network, a folder, watches and their sinks."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from driftline_device.config import load_config
from driftline_device.daemon.daemon import Daemon
from driftline_device.program.assembly import open_daemon
from driftline_device.program.sources import open_sources
from driftline_shared.pair.pair import load_pair
from tests.fakes.mjpeg import MjpegServer, jpeg
from tests.fakes.runtime import FakeRuntime, picture, write_pair
from tests.fakes.waiting import until

pytestmark = pytest.mark.integration
pytest.importorskip("cv2")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def running(folder: Path, text: str) -> Iterator[Daemon]:
    """A device that reads its feeds until the block ends."""
    file = folder / "device.toml"
    file.write_text(f'state = "{folder / "state"}"\nevents = "{folder / "events"}"\n{text}')
    config = load_config(file, {"frames.timeout_s": 2.0}, {})
    (source,) = open_sources([], config)
    with open_daemon(config, load_pair(write_pair(folder / "pair")), FakeRuntime()) as daemon:
        daemon.start()
        reading = threading.Thread(target=daemon.run, args=(source,))
        reading.start()
        try:
            yield daemon
        finally:
            daemon.request_stop()
            reading.join(60.0)
            daemon.stop(0.1)
    assert not reading.is_alive()


def count(folder: Path, feed: str) -> int:
    return sum(row["feed"] == feed for row in rows(folder / "events"))


def test_two_cameras_and_a_folder_each_in_its_own_way(tmp_path: Path) -> None:
    one, two = MjpegServer(lambda: jpeg(0)), MjpegServer(lambda: jpeg(200))
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    text = f"""
        [folder]
        complete_after_s = 0.05
        rescan_s = 0.2
        [[feeds]]
        name = "door"
        source = "http://127.0.0.1:{one.port}/"
        questions = ["open?", "who is there?"]
        region = [0.5, 0.0, 0.5, 1.0]
        every_s = 0.05
        sinks = "log"
        [[feeds]]
        name = "gate"
        source = "http://127.0.0.1:{two.port}/"
        questions = "closed?"
        every_s = 0.05
        [[feeds]]
        name = "inbox"
        source = "watch:{inbox}"
        questions = "what is this?"
        [[sinks]]
        name = "log"
        kind = "file"
        path = "{tmp_path / "log.jsonl"}"
        [[sinks]]
        name = "alarm"
        kind = "file"
        path = "{tmp_path / "alarm.jsonl"}"
        answers = false
        [[watches]]
        name = "came"
        feeds = "inbox"
        equals = "yes"
        sinks = "alarm"
    """
    try:
        with running(tmp_path, text) as daemon:
            until(lambda: min(count(tmp_path, "door"), count(tmp_path, "gate")) >= 20)

            # One camera and the folder go; the others go on.
            one.close()
            shutil.rmtree(inbox)
            before = count(tmp_path, "gate")
            until(lambda: count(tmp_path, "gate") >= before + 30)

            # They come back by themselves.
            one = MjpegServer(lambda: jpeg(0), port=one.port)
            inbox.mkdir()
            Image.fromarray(picture(3)).save(inbox / "new.png")
            door = count(tmp_path, "door")
            until(lambda: count(tmp_path, "door") >= door + 10)
            until(lambda: count(tmp_path, "inbox") == 1)
            until(lambda: bool(rows(tmp_path / "alarm.jsonl")))
            assert daemon.snapshot().domains.keys() == {"door", "gate", "inbox"}
    finally:
        one.close()
        two.close()
    found = rows(tmp_path / "events")
    door_questions = [row["question"] for row in found if row["feed"] == "door"]
    assert door_questions[:6] == ["open?", "who is there?"] * 3
    assert {row["source"] for row in found if row["feed"] == "gate"} == {
        f"http://127.0.0.1:{two.port}/"
    }
    # The door's answers go where it says, the gate's to who gets all.
    assert {row["feed"] for row in rows(tmp_path / "log.jsonl")} == {"door", "gate", "inbox"}
    (alarm,) = rows(tmp_path / "alarm.jsonl")
    assert (alarm["kind"], alarm["watch"], alarm["answer"]) == ("watch", "came", "yes")


def test_feeds_that_end_end_the_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.fromarray(picture(number)).save(tmp_path / name / f"{number}.png")
    text = "".join(
        f'[[feeds]]\nname = "{name}"\nsource = "{tmp_path / name}"\nquestions = ["what?"]\n'
        for name in ("a", "b")
    )
    with running(tmp_path, text):
        until(lambda: len(rows(tmp_path / "events")) == 6)
