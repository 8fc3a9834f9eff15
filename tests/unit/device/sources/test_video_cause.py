"""A video that cannot be read says why, by the file itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_device.sources.capture import load_opencv
from driftline_device.sources.video import VideoSource
from driftline_device.sources.video_cause import CANNOT_DECODE, NO_STREAM, why_unreadable
from driftline_shared.errors import DataError
from tests.fakes.videos import write_video


def box(name: bytes, content: bytes = b"") -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + name + content


def track(kind: bytes, codec: bytes) -> bytes:
    handler = box(b"hdlr", bytes(8) + kind + bytes(12))
    described = box(b"stsd", bytes(7) + b"\1" + box(codec))
    return box(b"trak", box(b"mdia", handler + described))


HEAD = box(b"ftyp", b"isom" + bytes(8))
DATA = box(b"mdat", bytes(100))
SOUND = box(b"moov", track(b"soun", b"mp4a"))
FILM = box(b"moov", track(b"vide", b"hvc1") + track(b"soun", b"mp4a"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (b"hello" * 1000, "it is no video"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "it is no video: "),
        (HEAD + DATA, "the index of its frames (moov)"),
        (HEAD + DATA[:50], "it is cut short, 70 of 128 bytes are there: the index"),
        (HEAD + DATA + SOUND, f"{NO_STREAM}, only sound"),
        (HEAD + DATA + box(b"moov"), NO_STREAM),
        (HEAD + FILM + DATA, f"{CANNOT_DECODE} (hvc1, mp4a)"),
        (HEAD + FILM[:-10], "it is cut short"),
        (box(b"moov")[:4] + b"moov", NO_STREAM),
        (b"\0\0\0\1ftyp", "moov"),
        (b"\0\0\0\3mdat", "moov"),
        (b"ID3\4" + bytes(100), "it is sound"),
        (b"RIFF\xff\xff\0\0AVI LISTvids", "it is cut short, 20 of 65543 bytes"),
        (b"RIFF\0\0\0\0AVI LISTauds", NO_STREAM),
        (b"\x1a\x45\xdf\xa3" + b"A_OPUS", NO_STREAM),
        (b"\x1a\x45\xdf\xa3" + b"V_AV1", CANNOT_DECODE),
    ],
)
def test_the_file_itself_says_why(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    assert words in why_unreadable(path)
    with pytest.raises(DataError) as caught:
        VideoSource(path, question="what?")
    assert why_unreadable(path) in str(caught.value)


def test_one_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    assert why_unreadable(tmp_path / "none.mp4") == "No such file or directory"


@given(data=st.binary(max_size=400))
def test_no_bytes_end_otherwise_than_in_a_sentence(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.mp4"
    for head in (b"", HEAD, HEAD + b"\0\0\0\x20moov"):
        path.write_bytes(head + data)
        assert why_unreadable(path)


def test_a_real_recording_that_was_cut(tmp_path: Path) -> None:
    cv2 = load_opencv("a test")
    path = tmp_path / "cut.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MP4")
    for value in range(40):
        writer.write(np.full((48, 64, 3), 6 * value, dtype=np.uint8))
    writer.release()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="is no video that can be read: it is cut short"):
        VideoSource(path, question="what?")


def test_a_good_one_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftline_device.sources.capture.why_unreadable", None)
    assert VideoSource(write_video(tmp_path / "a.avi", [1, 2]), question="what?").name == "a"
