"""Video files, real ones: which frames come, how far it is, and what a broken file does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from driftline_device.runtime.runtime import Question
from driftline_device.sources import video
from driftline_device.sources.frames import FrameSettings
from driftline_device.sources.table import SourceSettings, open_source
from driftline_device.sources.video import VideoSource
from driftline_shared.errors import DataError
from tests.fakes.videos import write_video


def read(path: Path, **frames: float) -> list[Question]:
    source = VideoSource(path, question="what?", frames=FrameSettings(**frames))
    return [each for each in source if each is not None]


def test_every_frame_comes_in_order_as_rgb(tmp_path: Path) -> None:
    values = list(range(0, 250, 10))
    path = write_video(tmp_path / "clip.avi", values)
    seen = read(path, every_s=0.0)
    assert [round(float(each.image.mean())) for each in seen] == pytest.approx(values, abs=3)
    assert {each.image.shape for each in seen} == {(48, 64, 3)}
    assert {each.image.dtype for each in seen} == {np.dtype(np.uint8)}
    assert {(each.text, each.domain, each.truth) for each in seen} == {("what?", "clip", None)}
    assert [each.place for each in seen[:3]] == [f"{path}@{s}s" for s in ("0.00", "0.10", "0.20")]


def test_colours_are_in_their_places(tmp_path: Path) -> None:
    from driftline_device.sources.capture import load_opencv

    cv2 = load_opencv("a test")
    path = tmp_path / "red.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    writer.write(np.full((48, 64, 3), (0, 0, 250), dtype=np.uint8))  # OpenCV's order is BGR
    writer.release()
    (red,) = read(path)
    assert red.image[..., 0].mean() > 200
    assert red.image[..., 2].mean() < 50


def test_a_fixed_rate_of_the_videos_own_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", range(50), rate=25)
    assert [each.place.rpartition("@")[2] for each in read(path, every_s=0.5)] == [
        "0.00s",
        "0.52s",
        "1.00s",
        "1.52s",
    ]


def test_only_changes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", [20] * 10 + [200] * 10 + [20] * 10)
    seen = read(path, every_s=0.0, min_change=0.2)
    assert [each.place.rpartition("@")[2] for each in seen] == ["0.00s", "1.00s", "2.00s"]


def test_it_can_be_read_again_and_says_how_far_it_is(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", range(20))
    source = open_source(path, SourceSettings(question="what?", frames=FrameSettings(every_s=0.0)))
    assert isinstance(source, VideoSource)
    for _ in range(2):
        rows = iter(source)
        assert [next(rows) is not None for _ in range(5)] == [True] * 5
        assert source.progress == pytest.approx(5 / 20)
        rows.close()
    assert len([each for each in source if each is not None]) == 20
    assert (source.progress, source.num_broken) == (1.0, 0)


def test_where_many_frames_are_passed_over_it_gives_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "clip.avi", range(30))
    monkeypatch.setattr(video, "SILENCE_S", 0.0)
    rows = list(VideoSource(path, question="what?", frames=FrameSettings(every_s=60.0)))
    assert [row is not None for row in rows] == [True] + [False] * 29


@pytest.mark.parametrize(
    "data", [b"", b"hello" * 1000, b"RIFF\0\0\0\0AVI LIST" + bytes(500)], ids=["", "text", "header"]
)
def test_what_is_no_video_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"clip.mp4 (is no video|holds no frame)"):
        open_source(path, SourceSettings(question="what?"))
    with pytest.raises(DataError, match="does not exist"):
        open_source(tmp_path / "none.mp4", SourceSettings(question="what?"))


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """OpenCV 5 ends the process over such a name."""
    good = write_video(tmp_path / "clip.avi", [1, 200])
    odd = good.rename(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.avi")))
    with pytest.raises(DataError, match=r"udcff.avi cannot be opened: its name is no UTF-8"):
        VideoSource(odd, question="what?")


def test_frames_that_are_too_large_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", [1])
    with pytest.raises(DataError, match="frames of 64 x 48 pixels, at most 3000"):
        open_source(path, SourceSettings(question="what?", max_pixels=3_000))


def test_a_cut_file_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", range(0, 200, 2), size=(320, 240))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with capture_logs() as logs:
        seen = read(path, every_s=0.0)
    assert 10 < len(seen) < 90
    (row,) = (row for row in logs if row["event"] == "video.ended_early")
    assert (row["num_read"], row["num_frames"]) == (len(seen), 100)


def test_broken_files_print_nothing(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", range(0, 200, 2), size=(320, 240))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path.write_bytes(data)
    (tmp_path / "no.mp4").write_bytes(b"hello" * 1000)
    code = f"""
from pathlib import Path
from driftline_device.sources.video import VideoSource
folder = Path({str(tmp_path)!r})
print(len(list(VideoSource(folder / "clip.avi", question="what?"))) > 0)
try:
    VideoSource(folder / "no.mp4", question="what?")
except Exception as error:
    print(type(error).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    told = [line for line in done.stdout.splitlines() if "video.ended_early" not in line]
    assert (told, done.stderr, done.returncode) == (["True", "DataError"], "", 0)
