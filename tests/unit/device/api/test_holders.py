"""Keys of the local API: what each opens, how often, and what is wrong with a file of them."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest
from fastapi import Request
from starlette.exceptions import HTTPException
from structlog.testing import capture_logs

from driftline_device.api.access import Access
from driftline_device.api.errors import ApiError
from driftline_device.api.holders import Holder, Limits, Scope, read_holders
from driftline_device.api.key import Key
from driftline_device.api.owner.access import PageAccess
from driftline_device.config import load_config
from driftline_shared.errors import ConfigError

ASKING, LOOKING, OWNING, ALL = (f"{name}-{'x' * 20}" for name in ("ask", "look", "own", "all"))
FILE = f"""
[porch]
token = "{ASKING}"
scopes = ["ask"]
per_minute = 2

[grafana]
token = "{LOOKING}"
scopes = ["look"]

[anna]
token = "{OWNING}"
scopes = ["owner", "look"]
"""


@pytest.fixture
def now_s() -> list[float]:
    return [0.0]


@pytest.fixture
def key(tmp_path: Path, now_s: list[float]) -> Key:
    file = tmp_path / "keys.toml"
    file.write_text(FILE)
    given = {"api.port": 8000, "api.keys_file": str(file), "api.token": ALL}
    return Key(load_config(None, given, {}).api, monotonic_s=lambda: now_s[0])


def status(access: Access, token: str, scheme: str = "Bearer") -> int:
    """Of a request with that token."""
    headers = [(b"authorization", f"{scheme} {token}".encode()), (b"host", b"127.0.0.1")]
    try:
        asyncio.run(access(Request({"type": "http", "headers": headers})))
    except ApiError as error:
        return error.status
    except HTTPException as error:
        return error.status_code
    return 200


def test_each_key_opens_what_its_scopes_say_and_the_token_opens_all(key: Key) -> None:
    for scope, opened in ((Scope.ASK, ASKING), (Scope.LOOK, LOOKING), (Scope.OWNER, OWNING)):
        access = Access(key, scope)
        assert status(access, ALL) == 200
        assert status(access, opened) == 200
        assert status(access, "nobody's-token-at-all") == 401
        assert status(access, opened, "Digest") == 401
    assert status(Access(key, Scope.LOOK), OWNING) == 200
    assert status(Access(key, Scope.ASK), LOOKING) == 403
    assert status(Access(key, Scope.OWNER), ASKING) == 403
    assert status(Access(key, Scope.ASK, Scope.LOOK), LOOKING) == 200


def test_a_browser_shows_its_key_as_a_password(key: Key) -> None:
    access = PageAccess(key)
    for token, expected in ((OWNING, 200), (ALL, 200), (LOOKING, 403), ("wrong", 401)):
        basic = base64.b64encode(f"anna:{token}".encode()).decode()
        assert status(access, basic, "Basic") == expected
    assert status(access, "no base64 at all", "Basic") == 401


def test_a_key_asks_so_often_a_minute_and_the_others_do_not_wait(
    key: Key, now_s: list[float]
) -> None:
    access = Access(key, Scope.ASK)
    assert [status(access, ASKING) for _ in range(3)] == [200, 200, 429]
    assert status(access, ALL) == 200
    now_s[0] = 30.0
    assert [status(access, ASKING) for _ in range(2)] == [200, 429]
    # What a key does not open costs it nothing.
    now_s[0] = 60.0
    assert status(Access(key, Scope.LOOK), ASKING) == 403
    assert status(access, ASKING) == 200


def test_who_waits_is_told_how_long() -> None:
    limits, holder = Limits(lambda: 0.0), Holder(name="porch", per_minute=4)
    assert [limits.take(holder) for _ in range(4)] == [0.0] * 4
    assert limits.take(holder) == pytest.approx(15.0)


TOKEN = "t" * 16


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has 0 keys"),
        ("[a", "cannot be read"),
        ("a = 1", "alone"),
        (f"a = {'[' * 5_000}", "nested too deep"),
        (f'[a]\ntoken = " {TOKEN}"\nscopes = ["ask"]', "begins or ends with a space"),
        (f'[a]\ntoken = "{TOKEN}"', "scopes: a list"),
        ('[a]\ntoken = "short"\nscopes = ["ask"]', "16 or more"),
        ('[a]\nscopes = ["ask"]', "16 or more"),
        (f'[a]\ntoken = "{TOKEN}"\nscopes = ["root"]', r"\[a\] scopes: a list of ask, look, owner"),
        (f'[a]\ntoken = "{TOKEN}"\nscopes = [["ask"]]', "scopes: a list"),
        (f'[a]\ntoken = "{TOKEN}"\nscopes = ["ask"]\nper_minute = -1', "per_minute"),
        (f'[a]\ntoken = "{TOKEN}"\nscopes = ["ask"]\nper_minute = true', "per_minute"),
        (f'[a]\ntoken = "{TOKEN}"\nscopes = ["ask"]\nper_second = 1', "alone"),
        (
            f'[a]\ntoken = "{TOKEN}"\nscopes = ["ask"]\n[b]\ntoken = "{TOKEN}"\nscopes = ["look"]',
            r"\[b\] has the token of \[a\]",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_told_without_its_tokens(
    tmp_path: Path, text: str, told: str
) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=told) as caught:
        read_holders(file)
    assert TOKEN not in f"{caught.value} {caught.value.fix}"


def test_a_file_that_is_not_there_or_endless_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", Path("/dev/zero"), tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_holders(path)


def test_off_loopback_a_file_of_keys_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(FILE)
    given = {"api.port": 8000, "api.host": "0.0.0.0", "api.keys_file": str(file)}
    assert Key(load_config(None, given, {}).api).is_needed


def test_the_token_that_opens_everything_is_nobody_elses(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(FILE)
    given = {"api.port": 8000, "api.keys_file": str(file), "api.token": LOOKING}
    with pytest.raises(ConfigError, match=r"the token of \[grafana\]") as caught:
        Key(load_config(None, given, {}).api)
    assert LOOKING not in f"{caught.value} {caught.value.fix}"


@pytest.mark.parametrize(
    ("mode", "said"),
    [(0o600, ""), (0o640, ""), (0o644, "everybody"), (0o666, "write"), (0o660, "write")],
)
def test_files_of_keys_that_others_may_use_are_told(tmp_path: Path, mode: int, said: str) -> None:
    keys, token = tmp_path / "keys.toml", tmp_path / "token"
    keys.write_text(FILE)
    token.write_text(ALL)
    token.chmod(0o600)
    keys.chmod(mode)
    given = {"api.port": 8000, "api.keys_file": str(keys), "api.token_file": str(token)}
    with capture_logs() as logs:
        Key(load_config(None, given, {}).api)
    assert [line["setting"] for line in logs] == (["api.keys_file"] if said else [])
    assert not logs or (said in logs[0]["cause"] and "chmod 600" in logs[0]["fix"])
