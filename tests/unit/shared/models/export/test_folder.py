"""Where an export may be written, and that nothing half-made is ever seen there."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_shared.errors import ConfigError
from driftline_shared.models.export.folder import check_target, replacing


def test_a_new_and_an_empty_folder_are_taken(tmp_path: Path) -> None:
    check_target(tmp_path / "new", force=False)
    check_target(tmp_path, force=False)


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"")
    for force in (False, True):
        with pytest.raises(ConfigError, match="no export; name a new or an empty folder"):
            check_target(tmp_path, force=force)


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        check_target(tmp_path / "file", force=True)


def test_an_export_is_replaced_only_with_force(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text("{}")
    with pytest.raises(ConfigError, match="--force"):
        check_target(tmp_path, force=False)
    check_target(tmp_path, force=True)


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "export.json").write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(out) as made:
        (made / "export.json").write_text("new")
        raise ZeroDivisionError
    assert (out / "export.json").read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_the_new_folder_takes_the_old_ones_place(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    (out / "export.json").write_text("old")
    (out / "gone.onnx").write_text("old")
    with replacing(out) as made:
        (made / "probe").mkdir()
        (made / "export.json").write_text("new")
        (made / "export.json").chmod(0o600)
    assert sorted(path.name for path in out.iterdir()) == ["export.json", "probe"]
    assert (out / "export.json").stat().st_mode & 0o777 == 0o644
    assert list(out.parent.iterdir()) == [out]
