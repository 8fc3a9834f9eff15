"""Sources: good rows run, every kind of bad row is named with its line and left out."""

from __future__ import annotations

import errno
import io
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile
from structlog.testing import capture_logs

from driftline_device.sources.dataset import MAX_LINE_BYTES, DatasetSource
from driftline_device.sources.folder import FolderSource
from driftline_device.sources.source import read_image
from driftline_device.sources.table import SourceSettings, open_source
from driftline_shared.errors import DataError
from driftline_shared.pictures.formats import readable


def save(path: Path, value: int = 7) -> None:
    Image.fromarray(np.full((5, 6, 3), value, dtype=np.uint8)).save(path)


def bomb(path: Path, side: int = 60_000) -> None:
    """A PNG of a few bytes whose header names side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b""))


def test_good_rows_come_in_order_with_their_place(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 1)
    save(tmp_path / "b.jpg", 2)
    rows = [
        {"image": "a.png", "question": "one?", "answer": "yes", "domain": "night", "extra": 1},
        {"image": "./b.jpg", "question": "two?"},
    ]
    path = tmp_path / "s.jsonl"
    path.write_text("\n\n".join(json.dumps(row) for row in rows))
    source = DatasetSource(path)
    first, second = list(source)
    assert (first.text, first.truth, first.domain) == ("one?", "yes", "night")
    assert (first.place, second.place) == (f"{path}:1", f"{path}:3")
    assert (second.truth, second.domain) == (None, None)
    assert (first.image.shape, first.image.dtype) == ((5, 6, 3), np.uint8)
    assert (source.name, source.num_broken) == ("s", 0)
    assert len(list(source)) == 2


BAD_ROWS = [
    "{",
    "[1, 2]",
    "null",
    '"text"',
    '{"question": "q"}',
    '{"image": 3, "question": "q"}',
    '{"image": "a.png"}',
    '{"image": "a.png", "question": ""}',
    '{"image": "a.png", "question": "q", "answer": 5}',
    '{"image": "none.png", "question": "q"}',
    '{"image": "broken.png", "question": "q"}',
    '{"image": "bomb.png", "question": "q"}',
    '{"image": "cut.png", "question": "q"}',
    '{"image": "text.png", "question": "q"}',
    '{"image": ".", "question": "q"}',
    '{"image": "../secret.png", "question": "q"}',
    '{"image": "/etc/hostname", "question": "q"}',
    '{"image": "way_out/secret.png", "question": "q"}',
    '{"image": "a\\u0000.png", "question": "q"}',
    '{"image": "pipe.png", "question": "q"}',
    '{"image": "\\ud800.png", "question": "q"}',
    '{"image": "a.png", "question": "q", "domain": "\\ud800"}',
    '{"image": "a.png", "question": "' + "q" * 5_000 + '"}',
    "[" * 30_000,
    '{"image": "' + "a" * MAX_LINE_BYTES + '", "question": "q"}',
]


@pytest.mark.parametrize("bad", BAD_ROWS, ids=lambda row: row[:40])
def test_a_bad_row_is_named_and_the_rest_runs(tmp_path: Path, bad: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    save(folder / "a.png")
    save(tmp_path / "secret.png")
    (folder / "way_out").symlink_to(tmp_path)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 30)
    whole = (folder / "a.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("hello")
    bomb(folder / "bomb.png")
    os.mkfifo(folder / "pipe.png")
    good = '{"image": "a.png", "question": "q"}'
    path = folder / "s.jsonl"
    path.write_text(f"{good}\n{bad}\n{good}\n")
    source = DatasetSource(path)
    with capture_logs() as logs:
        places = [each.place for each in source]
    assert places == [f"{path}:1", f"{path}:3"]
    assert source.num_broken == 1
    (row,) = logs
    assert row["event"] == "source.row_malformed"
    assert row["error"].startswith(f"{path}:2: ")
    assert row["fix"]


def test_bytes_that_are_no_text_are_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(b"\xff\xfe\n\x00\n")
    source = DatasetSource(path)
    assert list(source) == []
    assert source.num_broken == 2


def test_rows_end_where_they_cannot_be_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.png")
    path = tmp_path / "s.jsonl"
    path.write_text('{"image": "a.png", "question": "q"}\n' * 2, encoding="utf-8")
    source = DatasetSource(path)

    class Worn(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                raise OSError(errno.EIO, "Input/output error")
            return super().readline(size)

    data = path.read_bytes()
    monkeypatch.setattr(Path, "open", lambda *_: Worn(data))
    with capture_logs() as logs:
        assert [each.place for each in source] == [f"{path}:1"]
    assert (logs[0]["event"], logs[0]["place"]) == ("source.unreadable", f"{path}:2")
    assert source.num_broken == 1


def test_pixels_are_bounded_before_they_are_decoded(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", place="p", max_pixels=30).shape == (5, 6, 3)
    with pytest.raises(DataError, match=r"^p: image a.png has 6 x 5 pixels, at most 29"):
        read_image(tmp_path / "a.png", place="p", max_pixels=29)


def test_a_folder_asks_one_question_of_each_image(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    save(folder / "b.png", 2)
    save(folder / "a.JPG", 1)
    save(folder / "sub" / "c.bmp", 3)
    (folder / "notes.txt").write_text("no image")
    (folder / "broken.png").write_text("no image either")
    source = FolderSource(folder, question="what?")
    with capture_logs() as logs:
        seen = list(source)
    assert [Path(each.place).name for each in seen] == ["a.JPG", "b.png", "c.bmp"]
    assert {(each.text, each.truth, each.domain) for each in seen} == {("what?", None, "photos")}
    assert (source.num_broken, source.left_out.num) == (1, 1)
    left_out, broken = logs
    assert left_out["problem"] == "1 file of unknown kind left out: .txt 1"
    assert broken["event"] == "source.image_broken"


def test_files_of_unknown_kind_are_counted_and_told(tmp_path: Path) -> None:
    for name in ("a.HEVC", "b.HEVC", "c.xyz", "noend", ".hidden", "x.part", "d.png"):
        (tmp_path / name).write_bytes(b"?")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    source = FolderSource(tmp_path, question="what?")
    with capture_logs() as logs:
        assert list(source) == []
        assert list(source) == []
    told = [row for row in logs if row["event"] == "source.files_left_out"]
    assert [row["problem"] for row in told] == [
        "6 files of unknown kind left out: .HEVC 2, no regular file 2, .xyz 1, without suffix 1"
    ]
    assert "PNG" in told[0]["fix"]


def test_photos_of_an_iphone_are_named_where_they_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms = tuple(each for each in readable() if each != "HEIF")
    monkeypatch.setattr("driftline_shared.pictures.formats.readable", lambda: forms)
    (tmp_path / "IMG_1.HEIC").write_bytes(b"?")
    with capture_logs() as logs:
        assert list(FolderSource(tmp_path, question="what?")) == []
    (row,) = logs
    assert row["problem"] == "1 file of unknown kind left out: .HEIC 1"
    assert "driftline[heic]" in row["fix"]


def test_what_a_decoder_raises_costs_one_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ImageFile.ImageFile.load

    def load(image: ImageFile.ImageFile) -> Any:
        if image.size == (9, 9):
            raise RuntimeError("Failed to decode frame 0")
        return real(image)

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    save(tmp_path / "a.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "b.png")
    save(tmp_path / "c.png")
    source = FolderSource(tmp_path, question="what?")
    with capture_logs() as logs:
        assert [Path(each.place).name for each in source] == ["a.png", "c.png"]
    assert (source.num_broken, logs[0]["error"].count("Failed to decode frame 0")) == (1, 1)


def test_names_that_are_no_text_go_through_as_escapes(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in\xff"))
    folder.mkdir()
    save(Path(os.fsdecode(os.fsencode(folder) + b"/\xfe\n.png")))
    (seen,) = FolderSource(folder, question="what?")
    for text in (seen.place, seen.domain or ""):
        assert text.isprintable() and text.encode("utf-8")
    assert seen.domain == r"in\udcff"


def test_wrong_paths_say_what_is_right(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a folder"):
        open_source(tmp_path / "x.csv")
    with pytest.raises(DataError, match="does not exist"):
        open_source(tmp_path / "x.jsonl")
    with pytest.raises(DataError, match="give a question"):
        open_source(tmp_path)


@pytest.mark.parametrize("name", ["rows.jsonl", "clip.mp4"])
def test_what_is_there_and_no_file_is_named_and_never_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name} cannot be read \(it is a pipe, not a file\)"):
        open_source(tmp_path / name, SourceSettings(question="what?"))
    with pytest.raises(DataError, match=r"cannot be read \(Not a directory\)"):
        open_source(tmp_path / name / name, SourceSettings(question="what?"))


def test_a_refusal_promises_no_rest_that_was_used(tmp_path: Path) -> None:
    for name in ("nosuch", "x.jsonl", "x.mp4", "watch:nosuch"):
        with pytest.raises(DataError) as refused:
            open_source(str(tmp_path / name), SourceSettings(question="what?"))
        assert "rest" not in refused.value.fix
