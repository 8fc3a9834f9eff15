"""A file of lines stays within its bounds, and no line in it is half a line."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from driftline_shared.host import appended
from driftline_shared.host.appended import AppendedFile


def test_it_is_begun_anew_and_the_oldest_goes(tmp_path: Path) -> None:
    file = AppendedFile(tmp_path / "new" / "events.jsonl", max_bytes=25, keep=2)
    for number in range(10):
        file.append(f"line {number} ")  # eight bytes with its end: three fit
    file.close()
    found = {path.name: path.read_text().split("\n")[:-1] for path in (tmp_path / "new").iterdir()}
    assert found == {
        "events.jsonl": ["line 9 "],
        "events.jsonl.1": ["line 6 ", "line 7 ", "line 8 "],
        "events.jsonl.2": ["line 3 ", "line 4 ", "line 5 "],
    }


def test_it_goes_on_where_it_was_and_ends_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"n": 1}\n{"n": ')
    file = AppendedFile(path, max_bytes=1000, keep=0)
    file.append('{"n": 3}')
    file.close()
    assert path.read_text().splitlines() == ['{"n": 1}', '{"n": ', '{"n": 3}']


def test_without_older_ones_the_bound_holds(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = AppendedFile(path, max_bytes=20, keep=0)
    for _ in range(50):
        file.append("0123456789")
        assert path.stat().st_size <= 20
    file.close()
    assert [each.name for each in tmp_path.iterdir()] == ["events.jsonl"]


@contextmanager
def full_disk() -> Iterator[None]:
    """Files of this process end at 20 bytes inside, as on a disk that is full; tests print none."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_what_a_full_disk_cut_off_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = AppendedFile(path, max_bytes=1000, keep=1)
    file.append("0123456789")
    for _ in range(3):
        with pytest.raises(OSError, match=r"."), full_disk():
            file.append("abcdefghijkl")
    assert path.read_bytes() == b"0123456789\n"
    with full_disk():
        file.append("short")
    assert path.read_bytes() == b"0123456789\nshort\n"
    file.close()


def test_a_file_that_was_moved_or_removed_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = AppendedFile(path, max_bytes=1000, keep=1)
    file.append("one")
    path.rename(tmp_path / "moved")
    file.append("two")
    path.unlink()
    file.append("three")
    file.close()
    assert (path.read_text(), (tmp_path / "moved").read_text()) == ("three\n", "one\n")


def test_a_place_that_comes_back_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "mnt").write_text("in the way")
    file = AppendedFile(tmp_path / "mnt" / "events.jsonl", max_bytes=1000, keep=1)
    with pytest.raises(OSError, match=r"."):
        file.append("lost")
    (tmp_path / "mnt").unlink()
    file.append("kept")
    file.close()
    assert (tmp_path / "mnt" / "events.jsonl").read_text() == "kept\n"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/full")])
def test_what_is_no_file_is_neither_waited_for_nor_written(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "events.jsonl"
    make(path)
    file = AppendedFile(path, max_bytes=1000, keep=1)
    with pytest.raises(OSError, match="not a file"):
        file.append("lost")
    path.rename(tmp_path / "moved")
    file.append("kept")
    file.close()
    assert path.read_text() == "kept\n"


def test_of_folders_that_are_missing_only_the_last_is_made(tmp_path: Path) -> None:
    file = AppendedFile(tmp_path / "stick" / "answers" / "a.jsonl", max_bytes=1000, keep=1)
    with pytest.raises(OSError, match="is the disk mounted"):
        file.append("lost")
    assert not list(tmp_path.iterdir())
    (tmp_path / "stick").mkdir()
    file.append("kept")
    file.close()
    assert (tmp_path / "stick" / "answers" / "a.jsonl").read_text() == "kept\n"


@pytest.mark.parametrize("place", ["mnt/stick/a", "media/stick/a", "media/anna/stick/a"])
def test_a_disk_that_is_not_mounted_is_not_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    roots = (str(tmp_path / "media"), str(tmp_path / "run"), str(tmp_path / "mnt"))
    monkeypatch.setattr(appended, "MOUNTS", roots)
    (tmp_path / place).parent.parent.mkdir(parents=True)
    with pytest.raises(OSError, match="is the disk mounted"):
        AppendedFile(tmp_path / place, max_bytes=1000, keep=1).append("lost")
    assert not (tmp_path / place).parent.exists()
