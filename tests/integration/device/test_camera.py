"""A network camera, a real stream on loopback: newest frames only, and back after it was lost."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator, Iterator

import numpy as np
import pytest
from structlog.testing import capture_logs

from driftline_device.feeds.table import read_ahead
from driftline_device.runtime.runtime import Question
from driftline_device.sources.camera import CameraSource
from driftline_device.sources.clips import ClipPlan, ClipSource
from driftline_device.sources.frames import FrameSettings
from driftline_device.sources.table import parse_address
from driftline_shared.retry import Backoff
from tests.fakes.mjpeg import MjpegServer, jpeg
from tests.fakes.rtsp import RtspServer
from tests.fakes.waiting import until

pytestmark = pytest.mark.integration

Rows = Generator[Question | None, None, None]
AGAIN_SOON = Backoff(first_s=0.05, cap_s=0.1)


def camera(url: str, *, max_pixels: int = 10_000, **frames: float) -> CameraSource:
    return CameraSource(
        parse_address(url),
        question="what?",
        frames=FrameSettings(**{"every_s": 0.0, "timeout_s": 5.0, **frames}),
        max_pixels=max_pixels,
        backoff=AGAIN_SOON,
    )


def pull(rows: Rows, num: int) -> list[Question]:
    """The next `num` questions."""
    seen: list[Question] = []

    def more() -> bool:
        row = next(rows)
        if row is not None:
            seen.append(row)
        return len(seen) >= num

    until(more)
    return seen


@pytest.fixture
def counting() -> Callable[[], bytes]:
    """Pictures of rising brightness, a step of 8 each, from the start again at 256."""
    values = itertools.cycle(range(0, 256, 8))
    return lambda: jpeg(next(values))


@pytest.fixture
def server(counting: Callable[[], bytes]) -> Iterator[MjpegServer]:
    it = MjpegServer(counting)
    yield it
    it.close()


def test_frames_come_one_by_one_and_none_waits_behind(server: MjpegServer) -> None:
    rows = iter(camera(server.url))
    first = pull(rows, 1)[0]
    assert next(rows) is None
    assert (first.image.shape, first.image.dtype) == ((48, 64, 3), np.uint8)
    assert (first.text, first.truth) == ("what?", None)
    shown = f"http://127.0.0.1:{server.port}/stream"
    assert (first.domain, first.place.partition("#")[0]) == (shown, shown)
    rows.close()


def test_what_comes_after_a_long_answer_is_new(server: MjpegServer) -> None:
    rows = iter(camera(server.url))
    before = pull(rows, 1)[0]
    asked = server.num_pictures
    until(lambda: server.num_pictures > asked + 40)
    after = pull(rows, 1)[0]

    def number(question: Question) -> int:
        return int(question.place.rpartition("#")[2])

    # A backlog would have given the frame right behind the first.
    assert number(after) > number(before) + 30
    rows.close()


def test_a_clip_goes_on_while_an_answer_is_made(server: MjpegServer) -> None:
    plan = ClipPlan(num=3, height=12, width=16)
    clips = read_ahead(ClipSource(camera(server.url), plan))
    rows = iter(clips)
    first = pull(rows, 1)[0]
    assert first.image.shape == (3, 12, 16, 3)
    asked = server.num_pictures
    until(lambda: server.num_pictures > asked + 200)
    after = pull(rows, 1)[0]
    begin, end = (int(part) for part in after.place.rpartition("#")[2].split(".."))
    # One made of frames from before and after the answer would span 200 of them.
    assert end - begin < 150
    assert begin > int(first.place.rpartition("..")[2]) + 30, "of those that waited the newest"
    assert clips.name == first.feed == f"http://127.0.0.1:{server.port}/stream"
    rows.close()


def test_a_rate_and_a_change_choose_the_frames(server: MjpegServer) -> None:
    rows = iter(camera(server.url, every_s=3_600.0))
    pull(rows, 1)
    until(lambda: next(rows) is None and server.num_pictures > 50)
    rows.close()
    rows = iter(camera(server.url, min_change=0.2))
    values = [float(each.image.mean()) for each in pull(rows, 6)]
    assert min(abs(one - two) for one, two in itertools.pairwise(values)) >= 0.2 * 255 - 1
    rows.close()


def test_a_lost_camera_comes_back_and_is_told_of_once(
    counting: Callable[[], bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    server = MjpegServer(counting)
    source = camera(server.url)
    rows = iter(source)
    with capture_logs() as logs:
        pull(rows, 2)
        server.close()
        until(lambda: next(rows) is None and any(row["event"] == "camera.lost" for row in logs))
        for _ in range(15):
            assert next(rows) is None
        server = MjpegServer(counting, port=server.port)
        pull(rows, 2)
        until(lambda: any(row["event"] == "camera.back" for row in logs))
        rows.close()
    server.close()
    assert [row["event"] for row in logs] == ["camera.lost", "camera.back"]
    assert "secret" not in str(logs)
    assert not [each for each in threading.enumerate() if each.name == "driftline-camera"]
    assert capfd.readouterr().err == ""


def test_a_camera_that_hangs_is_lost(server: MjpegServer) -> None:
    rows = iter(camera(server.url, timeout_s=0.5))
    with capture_logs() as logs:
        pull(rows, 1)
        server.stalled.set()
        until(lambda: next(rows) is None and [row["event"] for row in logs] == ["camera.lost"])
        server.stalled.clear()
        pull(rows, 2)
    rows.close()
    assert server.num_requests > 1


def test_a_camera_need_not_be_there_at_the_start(counting: Callable[[], bytes]) -> None:
    server = MjpegServer(counting)
    server.close()
    rows = iter(camera(server.url))
    with capture_logs() as logs:
        for _ in range(5):
            assert next(rows) is None
        until(lambda: next(rows) is None and bool(logs))
        server = MjpegServer(counting, port=server.port)
        pull(rows, 1)
    rows.close()
    server.close()
    assert "sends no video" in logs[0]["error"]
    assert "secret" not in str(logs)


def test_frames_that_are_too_large_are_not_taken(server: MjpegServer) -> None:
    rows = iter(camera(server.url, max_pixels=3_000))
    with capture_logs() as logs:
        until(lambda: next(rows) is None and bool(logs))
    rows.close()
    assert "64 x 48 pixels, at most 3000" in logs[0]["error"]


def test_it_ends_at_once_while_frames_come(server: MjpegServer) -> None:
    for _ in range(3):
        rows = iter(camera(server.url))
        pull(rows, 1)
        rows.close()
        assert not [each for each in threading.enumerate() if each.name == "driftline-camera"]


def test_a_stream_that_ends_is_opened_anew() -> None:
    server = MjpegServer(lambda: jpeg(100), most=3)
    rows = iter(camera(server.url))
    with capture_logs():
        pull(rows, 7)
    rows.close()
    server.close()
    assert server.num_requests >= 3


def test_a_real_rtsp_camera_with_a_password(capfd: pytest.CaptureFixture[str]) -> None:
    values = itertools.cycle(range(0, 256, 8))
    server = RtspServer(lambda: jpeg(next(values)), user="owner", password="secret")
    source = camera(f"rtsp://owner:secret@127.0.0.1:{server.port}/live")
    rows = iter(source)
    with capture_logs() as logs:
        seen = pull(rows, 8)
        rows.close()
    server.close()
    assert {each.image.shape for each in seen} == {(48, 64, 3)}
    steps = {round(float(each.image.mean()) / 8) for each in seen}
    assert len(steps) > 1
    assert all(abs(each.image.mean() - 8 * round(each.image.mean() / 8)) < 2 for each in seen)
    assert source.name == f"rtsp://127.0.0.1:{server.port}/live"
    assert (logs, capfd.readouterr().err) == ([], "")


def test_a_wrong_password_is_told_without_it() -> None:
    server = RtspServer(lambda: jpeg(0), user="owner", password="secret")
    rows = iter(camera(f"rtsp://owner:wrong@127.0.0.1:{server.port}/live"))
    with capture_logs() as logs:
        until(lambda: next(rows) is None and bool(logs))
        rows.close()
    server.close()
    assert server.num_refused
    assert "user and password" in logs[0]["error"]
    assert "wrong" not in str(logs)
