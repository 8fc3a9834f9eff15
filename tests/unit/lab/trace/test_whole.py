"""A derived folder appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_lab.trace.whole import whole_folder
from driftline_shared.errors import ConfigError


@pytest.mark.parametrize("empty", [False, True])
def test_what_ends_well_is_there(tmp_path: Path, empty: bool) -> None:
    folder = tmp_path / "a" / "new"
    if empty:
        folder.mkdir(parents=True)
    with whole_folder(folder) as draft:
        (draft / "one").write_text("1")
        assert not (folder / "one").exists()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["new"]
    assert (folder / "one").read_text() == "1"


def test_of_what_fails_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), whole_folder(tmp_path / "new") as draft:
        (draft / "one").write_text("1")
        raise OSError("the disk is full")
    assert list(tmp_path.iterdir()) == []


def test_the_draft_of_one_that_was_killed_goes_and_others_stay(tmp_path: Path) -> None:
    killed, strange = tmp_path / ".new.0123abcd.draft", tmp_path / ".new.mine.draft"
    for folder in (killed, strange):
        folder.mkdir()
        (folder / "part").write_text("half")
    with whole_folder(tmp_path / "new") as first:
        assert not killed.exists()
        with pytest.raises(OSError), whole_folder(tmp_path / "new") as second:
            (second / "two").write_text("2")
            assert first.is_dir(), "it is being written"
            (tmp_path / "new").mkdir()
            (tmp_path / "new" / "theirs").write_text("3")
        (tmp_path / "new" / "theirs").unlink()
        (first / "one").write_text("1")
    assert sorted(path.name for path in tmp_path.iterdir()) == [strange.name, "new"]


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    with pytest.raises(ConfigError, match="is there already"), whole_folder(tmp_path):
        pytest.fail("must not begin")
    with pytest.raises(ConfigError, match="is there already"), whole_folder(tmp_path / "one"):
        pytest.fail("must not begin")


def test_a_folder_that_somebody_filled_meanwhile_stays(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with pytest.raises(OSError), whole_folder(folder) as draft:
        (draft / "mine").write_text("1")
        folder.mkdir()
        (folder / "theirs").write_text("2")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert [path.name for path in folder.iterdir()] == ["theirs"]
