"""A new pair from a ready-made file: what goes wrong leaves nothing behind, and is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_shared.errors import ConfigError, PairError
from driftline_shared.pair.ready import new_pair
from driftline_shared.pair.spec import read_spec


def test_a_new_pair_has_its_name(tmp_path: Path) -> None:
    file = new_pair("mine", "llava-1.5", tmp_path / "deep" / "mine")
    assert read_spec(file).name == "mine"
    with pytest.raises(PairError, match="exists already") as caught:
        new_pair("mine", "llava-1.5", file.parent)
    assert "another folder" in caught.value.fix


def test_a_name_that_no_pair_can_have_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(PairError, match="name"):
        new_pair("no name", "llava-1.5", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be made"):
        new_pair("mine", "llava-1.5", tmp_path / "file" / "mine")


def test_what_is_no_toml_says_where(tmp_path: Path) -> None:
    file = tmp_path / "pair.toml"
    file.write_bytes(b"name = \xff\n")
    with pytest.raises(PairError, match="no TOML in UTF-8"):
        read_spec(file)
    file.write_text('name = "x"\nprompt =\n')
    with pytest.raises(PairError, match="line 2") as caught:
        read_spec(file)
    assert "where that says" in caught.value.fix
