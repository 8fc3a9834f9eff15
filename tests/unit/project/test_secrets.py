"""No command prints a secret, no error quotes one: wherever one may stand there is a canary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from driftline_cloud.cli import app as cloud_app
from driftline_cloud.config import load_config as load_cloud
from driftline_cloud.intake.database import Database
from driftline_device.cli import app as device_app
from driftline_device.config import load_config as load_device
from driftline_shared.errors import ConfigError
from driftline_shared.trust.invitation import Invitation, read_invitation

CANARY = "canary-0123456789abcdef"

DEVICE = f"""
sources = ["rtsp://camera:{CANARY}@10.0.0.9/live?key={CANARY}"]
[api]
token = "{CANARY}"
[[sinks]]
kind = "webhook"
url = "https://example.org/hook?key={CANARY}"
"""
FEEDS = f"""
[[feeds]]
name = "door"
source = "https://camera:{CANARY}@10.0.0.9/mjpeg?key={CANARY}"
"""
CLOUD = f"""
database_url = "postgresql://driftline:{CANARY}@127.0.0.1:1/d"
"""


def test_keys_of_the_local_api_are_in_no_settings_that_are_shown(tmp_path: Path) -> None:
    keys, file = tmp_path / "keys.toml", tmp_path / "device.toml"
    keys.write_text(f'[dashboard]\ntoken = "{CANARY}"\nscopes = ["look"]\n')
    file.write_text(f'[api]\nport = 8000\nkeys_file = "{keys}"\n')
    assert load_device(file, {}, {}).api.holders().find(CANARY) is not None, "it is read"
    done = CliRunner().invoke(device_app, ["run", "--print-config", "--config", str(file)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["api"]["keys_file"] == str(keys)
    assert CANARY not in done.output
    wrong_scope = f'[dashboard]\ntoken = "{CANARY}"\nscopes = ["fly"]\n'
    for broken in (wrong_scope, f"[dashboard]\ntoken = {CANARY}"):
        keys.write_text(broken)
        with pytest.raises(ConfigError) as caught:
            load_device(file, {}, {}).api.holders()
        assert CANARY not in f"{caught.value} {caught.value.fix}"


@pytest.mark.parametrize("text", [DEVICE, FEEDS])
def test_a_device_shows_its_settings_without_secrets(tmp_path: Path, text: str) -> None:
    file = tmp_path / "device.toml"
    file.write_text(text)
    config = load_device(file, {}, {})
    assert CANARY in str([*config.sources, *(feed.source for feed in config.feeds)]), "it is read"
    done = CliRunner().invoke(device_app, ["run", "--print-config", "--config", str(file)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["pair"] == "tiny"
    assert CANARY not in done.output


def test_a_cloud_shows_its_settings_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text(CLOUD)
    assert CANARY in load_cloud(file, {}, {}).database_url
    done = CliRunner().invoke(cloud_app, ["serve", "--print-config", "--config", str(file)])
    assert done.exit_code == 0, done.output
    assert "postgresql" in json.loads(done.stdout)["database_url"]
    assert CANARY not in done.output


def test_a_database_that_is_away_is_named_without_its_password() -> None:
    url = f"postgresql+psycopg://driftline:{CANARY}@127.0.0.1:1/d"
    with capture_logs() as logs, pytest.raises(ConfigError) as caught:
        Database(url)
    assert "127.0.0.1" in str(caught.value)
    assert CANARY not in f"{caught.value} {caught.value.fix} {logs}"


@pytest.mark.parametrize(
    ("side", "key", "value"),
    [
        ("device", "api.token", CANARY[:9]),  # too short
        ("device", "sinks", [{"kind": "mqtt", "url": "mqtt://b", "password": CANARY}]),
        ("device", "sinks", [{"kind": "webhook", "url": f"https://u:{CANARY}@example.org"}]),
        ("cloud", "storage.artifacts", f"s3://key:{CANARY}@bucket/prefix"),
        ("cloud", "database_url", f"nosuch://u:{CANARY}@h/d"),
        ("cloud", "spans.endpoint", f"http://u:{CANARY}@127.0.0.1:4317"),
        ("device", "spans.endpoint", f"http://u:{CANARY}@127.0.0.1:4317"),
    ],
)
def test_a_wrong_setting_is_told_without_the_secret_in_it(
    side: str, key: str, value: object
) -> None:
    load = load_device if side == "device" else load_cloud
    try:
        config = load(None, {key: value}, {})
    except ConfigError as error:
        assert CANARY[:9] not in f"{error} {error.fix}"
        return
    assert key == "database_url", "the others are refused"
    with pytest.raises(ConfigError) as caught:
        Database(config.database_url)
    assert CANARY not in f"{caught.value} {caught.value.fix}"


def test_a_damaged_invitation_is_told_without_its_token() -> None:
    text = Invitation(address="127.0.0.1:1", root="0f" * 32, token="c2VjcmV0LWNhbmFyeQ").text()
    with pytest.raises(ConfigError) as caught:
        read_invitation(text[:-3])
    assert "c2VjcmV0LWNhbmFy" not in f"{caught.value} {caught.value.fix}"
