"""A folder that fills while it is watched: what is given, once, and only when it is complete."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from structlog.testing import capture_logs

from driftline_device.runtime.runtime import Question
from driftline_device.sources import arrivals
from driftline_device.sources.arrivals import Arrivals, FolderSettings, is_temporary
from driftline_device.sources.watched import WatchedFolderSource
from driftline_shared.host.clock import SystemClock
from tests.fakes.clock import FakeClock
from tests.fakes.waiting import until

QUICK = FolderSettings(complete_after_s=0.15, rescan_s=600.0)
Rows = Generator[Question | None, None, None]


def save(path: Path, value: int = 7) -> Path:
    Image.fromarray(np.full((5, 6, 3), value, dtype=np.uint8)).save(path)
    return path


class Reader:
    """What a watched folder gave so far, pulled whenever somebody looks."""

    def __init__(self, folder: Path, settings: FolderSettings = QUICK) -> None:
        self.source = WatchedFolderSource(folder, question="what?", settings=settings)
        self.rows: Rows = iter(self.source)
        self.names: list[str] = []
        self.values: list[int] = []

    def pull(self, times: int = 1) -> list[str]:
        """Read until nothing was at hand `times` times."""
        while times:
            row = next(self.rows)
            if row is None:
                times -= 1
            else:
                self.names.append(Path(row.place).name)
                self.values.append(int(row.image[0, 0, 0]))
        return self.names

    def pull_until(self, num_files: int) -> list[str]:
        until(lambda: len(self.pull()) >= num_files)
        return self.names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


@pytest.fixture
def reader(folder: Path) -> Iterator[Reader]:
    it = Reader(folder)
    yield it
    it.rows.close()


def test_files_come_as_they_arrive_and_once(folder: Path, reader: Reader) -> None:
    save(folder / "z.png", 1)
    assert reader.pull_until(1) == ["z.png"]
    save(folder / "a.png", 2)
    (folder / "notes.txt").write_text("no image")
    (folder / "sub").mkdir()
    assert reader.pull_until(2) == ["z.png", "a.png"]
    save(folder / "sub" / "b.JPG", 3)
    assert reader.pull_until(3) == ["z.png", "a.png", "b.JPG"]
    assert reader.pull(10) == ["z.png", "a.png", "b.JPG"]
    assert reader.source.num_broken == 0


def test_a_file_is_given_only_once_it_is_complete(folder: Path, tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.png", 9).read_bytes()
    reader = Reader(folder, FolderSettings(complete_after_s=1.5, rescan_s=600.0))
    reader.pull()
    with (folder / "slow.png").open("wb") as file:
        for position in range(0, len(whole), 25):
            file.write(whole[position : position + 25])
            file.flush()
            reader.pull()
            assert reader.names == []
    assert reader.pull_until(1) == ["slow.png"]
    assert (reader.values, reader.source.num_broken) == ([9], 0)
    reader.rows.close()


def test_a_file_that_grows_has_to_rest_anew(folder: Path) -> None:
    clock = FakeClock()  # earlier than the files: their age says nothing
    path = save(folder / "a.png")
    os.link(path, folder / "same.png")
    it = Arrivals(
        folder,
        frozenset({".png"}),
        FolderSettings(complete_after_s=10.0, rescan_s=1e9),
        clock=clock,
        wait_s=0.0,
    )
    assert it.take() == []
    clock.advance(9.0)
    assert it.take() == []
    with path.open("ab") as file:
        file.write(b"more")
    for seconds in (2.0, 9.0):
        clock.advance(seconds)
        assert it.take() == []
    clock.advance(2.0)
    assert [each.name for each in it.take()] == ["a.png"]  # of two names, one
    it.close()


def test_one_that_was_moved_in_is_complete_at_once(folder: Path, tmp_path: Path) -> None:
    reader = Reader(folder, FolderSettings(complete_after_s=3_000.0, rescan_s=600.0))
    reader.pull()
    old = save(tmp_path / "old.png")
    os.utime(old, (1_700_000_000, 1_700_000_000))
    old.rename(folder / "old.png")
    save(folder / "new.png")
    assert reader.pull_until(1) == ["old.png"]
    assert reader.pull(5) == ["old.png"]
    reader.rows.close()


def test_a_folder_that_was_moved_in_is_looked_through(folder: Path, tmp_path: Path) -> None:
    reader = Reader(folder)
    reader.pull()
    (tmp_path / "day" / "deep").mkdir(parents=True)
    save(tmp_path / "day" / "one.png")
    save(tmp_path / "day" / "deep" / "two.png")
    (tmp_path / "day").rename(folder / "day")
    assert sorted(reader.pull_until(2)) == ["one.png", "two.png"]
    reader.rows.close()


def test_a_renamed_file_is_not_given_again_and_an_overwritten_one_is(
    folder: Path, reader: Reader
) -> None:
    save(folder / "a.png", 1)
    reader.pull_until(1)
    (folder / "a.png").rename(folder / "b.png")
    reader.pull(5)
    save(folder / "b.png", 2)
    assert reader.pull_until(2) == ["a.png", "b.png"]
    assert reader.values == [1, 2]
    assert reader.pull(5) == ["a.png", "b.png"]


def test_unfinished_names_links_and_hidden_files_are_passed_over(
    folder: Path, reader: Reader, tmp_path: Path
) -> None:
    reader.pull()
    outside = save(tmp_path / "outside.png")
    (folder / "link.png").symlink_to(outside)
    (folder / ".cache").mkdir()
    for name in (".a.png", "b.part.png", "c.tmp.png", "~d.png", ".cache/e.png"):
        save(folder / name)
    shutil.copy(outside, folder / "g.png.part")
    save(folder / "last.png")
    assert reader.pull_until(1) == ["last.png"]
    assert reader.pull(5) == ["last.png"]
    (folder / "g.png.part").rename(folder / "g.png")
    assert reader.pull_until(2) == ["last.png", "g.png"]


@pytest.mark.parametrize(
    ("name", "temporary"),
    [
        ("a.png", False),
        ("partly.png", False),
        ("a.PART.png", True),
        ("a.png~", True),
        (".b.png", True),
        ("a.png.crdownload", True),
    ],
)
def test_names_of_unfinished_files(name: str, temporary: bool) -> None:
    assert is_temporary(name) is temporary


def test_broken_images_are_counted_and_tried_again_when_they_change(
    folder: Path, reader: Reader
) -> None:
    (folder / "a.png").write_bytes(b"not yet")
    with capture_logs() as logs:
        until(lambda: bool(reader.pull() == [] and reader.source.num_broken))
        reader.pull(5)
    assert [row["event"] for row in logs] == ["source.image_broken"]
    save(folder / "a.png", 5)
    assert reader.pull_until(1) == ["a.png"]


def test_deleted_files_and_empty_ones_are_no_matter(folder: Path, reader: Reader) -> None:
    reader.pull()
    (folder / "empty.png").touch()
    for number in range(20):
        save(folder / f"{number}.png").unlink()
    with capture_logs() as logs:
        save(folder / "good.png")
        assert reader.pull_until(1) == ["good.png"]
        reader.pull(5)
    assert (logs, reader.source.num_broken, reader.names) == ([], 0, ["good.png"])
    save(folder / "empty.png")
    assert reader.pull_until(2) == ["good.png", "empty.png"]


def test_files_of_unknown_kind_are_counted_once_and_told_now_and_then(folder: Path) -> None:
    (folder / "a.xyz").write_bytes(b"?")
    reader = Reader(folder, FolderSettings(complete_after_s=0.1, rescan_s=0.1))
    with capture_logs() as logs:
        until(lambda: bool(reader.pull() == [] and reader.source.left_out.num))
        for name in ("b.xyz", "clip.mov", ".hidden.xyz", "later.png.part"):
            (folder / name).write_bytes(b"?")
        until(lambda: bool(reader.pull() == [] and reader.source.left_out.num == 3))
        reader.pull(3)
    assert [row["problem"] for row in logs] == ["1 file of unknown kind left out: .xyz 1"]
    assert reader.source.left_out.sentence() == "3 files of unknown kind left out: .xyz 2, .mov 1"
    reader.rows.close()


def test_what_is_there_at_the_start_comes_in_the_order_of_arrival(folder: Path) -> None:
    for number, name in enumerate(("c.png", "a.png", "b.png")):
        save(folder / name, number)
        until(lambda: _tick(folder))
    reader = Reader(folder)
    assert reader.pull_until(3) == ["c.png", "a.png", "b.png"]
    reader.rows.close()


def _tick(folder: Path) -> bool:
    """Whether the clock of the file system went on since the newest file."""
    newest = max(path.stat().st_ctime_ns for path in folder.iterdir())
    probe = folder / "clock.txt"
    probe.write_text("")
    now = probe.stat().st_ctime_ns
    probe.unlink()
    return now > newest


def test_or_is_left_out(folder: Path) -> None:
    save(folder / "old.png")
    until(lambda: _tick(folder))
    reader = Reader(folder, FolderSettings(complete_after_s=0.1, rescan_s=0.0, existing=False))
    reader.pull(3)
    (folder / "old.png").rename(folder / "renamed.png")
    save(folder / "new.png")
    assert reader.pull_until(1) == ["new.png"]
    assert reader.pull(5) == ["new.png"]
    reader.rows.close()


def test_what_the_system_does_not_tell_is_found_by_looking(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import watchfiles

    def refuse(*_args: object, **_kwargs: object) -> Iterator[set[object]]:
        raise OSError("no space left for watches")
        yield set()

    monkeypatch.setattr(watchfiles, "watch", refuse)
    with capture_logs() as logs:
        reader = Reader(folder, FolderSettings(complete_after_s=0.1, rescan_s=0.1))
        save(folder / "a.png")
        assert reader.pull_until(1) == ["a.png"]
        save(folder / "b.png")
        assert reader.pull_until(2) == ["a.png", "b.png"]
        reader.rows.close()
    assert [row["event"] for row in logs] == ["folder.not_watched"]


def test_a_folder_that_goes_and_comes_back_is_watched_again(folder: Path, reader: Reader) -> None:
    save(folder / "a.png")
    reader.pull_until(1)
    with capture_logs() as logs:
        shutil.rmtree(folder)
        reader.pull(5)
        folder.mkdir()
        save(folder / "b.png")
        assert reader.pull_until(2) == ["a.png", "b.png"]
        save(folder / "c.png")
        assert reader.pull_until(3) == ["a.png", "b.png", "c.png"]
    assert [row["event"] for row in logs] == ["folder.missing"]


def test_what_waits_and_what_is_remembered_are_bounded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "MAX_WAITING", 5)
    monkeypatch.setattr(arrivals, "MAX_REMEMBERED", 4)
    monkeypatch.setattr(arrivals, "MAX_GIVEN", 3)
    for number in range(20):
        save(folder / f"{number:02}.png")
        until(lambda: _tick(folder))
    it = Arrivals(
        folder,
        frozenset({".png"}),
        FolderSettings(complete_after_s=0.0, rescan_s=0.0),
        clock=SystemClock(),
        wait_s=0.01,
    )
    given: list[str] = []
    for _ in range(40):
        paths = it.take()
        assert len(paths) <= 3
        assert len(it._waiting) <= 5
        assert len(it._given) <= 4
        given += [path.name for path in paths]
    it.close()
    assert given == [f"{number:02}.png" for number in range(20)]


def test_it_ends_when_it_is_closed(folder: Path) -> None:
    before = threading.active_count()
    for _ in range(3):
        reader = Reader(folder)
        reader.pull()
        reader.rows.close()
    assert threading.active_count() == before
