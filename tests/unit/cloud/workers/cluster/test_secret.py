"""The cluster's token: made once, for this user alone, found where Ray looks."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from driftline_cloud.workers.cluster.secret import make_token, read_token, token_place
from driftline_shared.errors import ConfigError

TOKEN = "0123456789abcdef"


def test_a_token_is_made_once_and_for_this_user_alone(tmp_path: Path) -> None:
    place = token_place(tmp_path / "keys" / "token", {})
    assert make_token(place, {})
    assert place.file is not None
    assert stat.S_IMODE(place.file.stat().st_mode) == 0o600
    token = read_token(place, {})
    assert len(token) == 64
    assert not make_token(place, {})
    assert read_token(place, {}) == token
    assert [path.name for path in place.file.parent.iterdir()] == ["token"]


def test_a_named_file_comes_first_then_what_the_environment_says(tmp_path: Path) -> None:
    named, path = tmp_path / "named", tmp_path / "path"
    both = {"RAY_AUTH_TOKEN": TOKEN, "RAY_AUTH_TOKEN_PATH": str(path)}
    found = token_place(named, both)
    assert found.file == named
    assert found.environment() == {"RAY_AUTH_TOKEN": None, "RAY_AUTH_TOKEN_PATH": str(named)}
    held = token_place(None, both)
    assert held.file is None
    assert held.environment() == {}
    assert read_token(held, both) == TOKEN
    assert token_place(None, {"RAY_AUTH_TOKEN_PATH": str(path)}).file == path
    assert token_place(None, {}, home=tmp_path).file == tmp_path / ".ray/auth_token"


@pytest.mark.parametrize(
    "content", [b"", b"short", b"two words in a token", b"\xff" * 20, b"a" * 5000]
)
def test_what_can_be_no_token_is_refused_unprinted(tmp_path: Path, content: bytes) -> None:
    place = token_place(tmp_path / "token", {})
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError, match="token") as raised:
        make_token(place, {})
    assert "two words" not in str(raised.value)
    assert (tmp_path / "token").read_bytes() == content


def test_a_token_that_is_not_there_is_named_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path)) as raised:
        read_token(token_place(tmp_path / "token", {}), {})
    assert "cluster token" in raised.value.fix
