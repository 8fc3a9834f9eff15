"""Where the API may be reached, and by whom."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from driftline_device.api.server import _listen
from driftline_device.api.settings import ApiConfig
from driftline_device.config import load_config
from driftline_shared.errors import ConfigError
from driftline_shared.host.loopback import is_loopback

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST."]
)
def test_loopback(host: str) -> None:
    assert is_loopback(host)
    assert load_config(None, {"api.port": 8000, "api.host": host}, {}).api.secret() == ""


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "10.0.0.1", "example.org", "127.0.0.1.example.org"]
)
def test_off_loopback_it_needs_a_token(host: str, tmp_path: Path) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match=r"api.*token_file"):
        load_config(None, {"api.port": 8000, "api.host": host}, {})
    assert load_config(None, {"api.host": host}, {}).api.port == 0
    given = {"api.port": 8000, "api.host": host, "api.token": TOKEN}
    assert load_config(None, given, {}).api.secret() == TOKEN
    file = tmp_path / "token"
    file.write_text(f" {TOKEN}x \nsecond line\n")
    given["api.token_file"] = str(file)
    assert load_config(None, given, {}).api.secret() == f"{TOKEN}x"


def test_the_configuration_that_is_shown_hides_the_token() -> None:
    shown = load_config(None, {"api.token": TOKEN}, {}).model_dump_json()
    assert TOKEN not in shown


@pytest.mark.parametrize("token", ["short", "line\nbreak-in-the-middle", "ünprintable-in-ascii"])
def test_a_weak_token_is_refused(token: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="16 or more"):
        load_config(None, {"api.token": token}, {})
    file = tmp_path / "token"
    file.write_text(token.partition("\n")[0])
    with pytest.raises(ConfigError, match=r"api\.token_file"):
        ApiConfig(token_file=file).secret()


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff" * 40])
def test_a_token_file_without_a_token_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"api\.token_file"):
        ApiConfig(token_file=file).secret()


def test_replies_do_not_wait_for_acknowledgements() -> None:
    with _listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
