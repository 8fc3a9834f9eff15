"""The lock of a state folder, on disks that take nothing and with odd things in its place."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from driftline_shared.errors import ConfigError, Reason
from driftline_shared.host.lock import lock_holder, state_lock


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EMFILE])
def test_a_disk_that_takes_nothing_still_keeps_two_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    real = os.open

    def full(path: object, flags: int, *mode: int, **options: object) -> int:
        if flags & os.O_CREAT:
            raise OSError(error, os.strerror(error), str(path))
        return real(path, flags, *mode, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(ConfigError, match="cannot be used"), state_lock(tmp_path):
        pass
    with state_lock(tmp_path, must_write=False):
        assert lock_holder(tmp_path) == 0
        with (
            pytest.raises(ConfigError, match="in use") as caught,
            state_lock(tmp_path, must_write=False),
        ):
            pass
        assert caught.value.reason is Reason.STATE_IN_USE
    assert lock_holder(tmp_path) is None


def test_a_folder_in_the_place_of_the_lock_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with state_lock(tmp_path):
        assert lock_holder(tmp_path) == os.getpid()
    assert (tmp_path / "lock.broken").is_dir()


def test_a_disk_without_room_for_a_number_is_locked_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with state_lock(tmp_path):
        assert lock_holder(tmp_path) == 0


def test_a_file_as_the_state_folder_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with (
        pytest.raises(ConfigError, match="cannot be used"),
        state_lock(tmp_path / "state", must_write=False),
    ):
        pass
