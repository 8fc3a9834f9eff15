"""Where `driftline device enrol` takes an invitation from."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from driftline_device.cli.enrol import _given
from driftline_shared.errors import ConfigError


class _Input:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


def test_an_invitation_comes_from_the_command_line_a_file_or_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _given("drift1.x", None) == "drift1.x"
    file = tmp_path / "invitation"
    file.write_text("drift1.x\n")
    assert _given("", file) == "drift1.x"
    monkeypatch.setattr(sys, "stdin", _Input(b"  drift1.x\r\n"))
    assert _given("-", None) == "drift1.x"


def test_none_or_two_of_them_and_a_file_that_is_not_there_are_told(tmp_path: Path) -> None:
    for invitation, file in (("", None), ("drift1.x", tmp_path / "invitation")):
        with pytest.raises(ConfigError, match="one invitation is needed"):
            _given(invitation, file)
    with pytest.raises(ConfigError, match="cannot be read"):
        _given("", tmp_path / "nowhere")


def test_an_endless_file_is_not_read_to_its_end() -> None:
    assert len(_given("", Path("/dev/zero"))) <= 4_096
