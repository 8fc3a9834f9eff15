"""The daemon over sources that never end: each answer at once, and it stops when asked."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from driftline_device.cli import app
from driftline_device.config import load_config
from driftline_device.program.assembly import open_daemon
from driftline_device.program.service import stream
from driftline_device.program.sources import open_sources
from driftline_device.sources.source import Source
from driftline_shared.pair.pair import load_pair
from tests.fakes.answers import answers_followed
from tests.fakes.mjpeg import MjpegServer, jpeg
from tests.fakes.runtime import FakeRuntime, picture, write_pair
from tests.fakes.videos import write_video
from tests.fakes.waiting import until

pytestmark = pytest.mark.integration


@contextmanager
def running(tmp_path: Path, *sources: str, hold: bool = False) -> Iterator[list[str]]:
    """A daemon with batches of 8 over `sources`, in a thread; where each answer came from."""
    places: list[str] = []
    config = load_config(
        None,
        {
            "state": str(tmp_path / "state"),
            "question": "what?",
            "batch_size": 8,
            "frames.every_s": 0.0,
            "folder.complete_after_s": 0.1,
            "folder.rescan_s": 600.0,
        },
        {},
    )
    pair = load_pair(write_pair(tmp_path / "pair"))
    opened: list[Source] = open_sources(sources, config)
    with (
        answers_followed(lambda seen, _answer: places.append(seen.place)),
        open_daemon(config, pair, FakeRuntime()) as daemon,
    ):
        thread = threading.Thread(
            target=stream,
            args=(daemon, opened),
            kwargs={"settle_s": 0.0, "drain_s": 1.0, "hold": hold},
        )
        thread.start()
        try:
            yield places
        finally:
            daemon.request_stop()
            thread.join(30.0)
        assert not thread.is_alive()
    assert not [each for each in threading.enumerate() if each.name.startswith("driftline-")]


def names(places: list[str]) -> list[str]:
    return [Path(place).name for place in places]


def test_one_image_is_answered_without_a_batch_to_fill(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    Image.fromarray(picture(0)).save(inbox / "first.png")
    with running(tmp_path, f"watch:{inbox}") as places:
        until(lambda: names(places) == ["first.png"])
        Image.fromarray(picture(1)).save(inbox / "second.png")
        until(lambda: names(places) == ["first.png", "second.png"])


def test_a_folder_in_which_nothing_happens_does_not_keep_the_daemon(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with running(tmp_path, f"watch:{inbox}") as places:
        pass
    assert places == []


def test_a_camera_is_answered_and_let_go(tmp_path: Path) -> None:
    server = MjpegServer(lambda: jpeg(0))
    try:
        with running(tmp_path, server.url) as places:
            until(lambda: len(places) >= 5)
        assert "secret" not in "".join(places)
        assert server.url not in (tmp_path / "state" / "status.json").read_text()
    finally:
        server.close()


def test_a_video_then_a_watched_folder(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    clip = write_video(tmp_path / "clip.avi", [0] * 20)
    with running(tmp_path, str(clip), f"watch:{inbox}") as places:
        until(lambda: len(places) == 20)
        Image.fromarray(picture(1)).save(inbox / "after.png")
        until(lambda: len(places) == 21)
    assert names(places)[-1] == "after.png"


def test_the_command_ends_well_when_nothing_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "driftline_device.program.assembly.make_runtime", lambda *_, **__: FakeRuntime()
    )
    (tmp_path / "inbox").mkdir()
    flags = [f"--source=watch:{tmp_path / 'inbox'}", f"--state={tmp_path / 'state'}"]
    pair = write_pair(tmp_path / "pair")

    def stop_once_answering() -> None:
        status = tmp_path / "state" / "status.json"
        until(lambda: status.is_file() and '"answering"' in status.read_text())
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop_once_answering)
    stopper.start()
    done = CliRunner().invoke(app, ["run", *flags, f"--pair={pair}", "--question=what?", "--json"])
    stopper.join()
    assert (done.exit_code, json.loads(done.stdout)["num_answered"]) == (0, 0)
