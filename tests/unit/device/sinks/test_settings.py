"""What can be said of sinks in a configuration, and what never shows."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from driftline_device.config import load_config
from driftline_device.sinks.home_assistant import About
from driftline_device.sinks.settings import secret_of
from driftline_device.sinks.table import open_sinks
from driftline_shared.errors import ConfigError, MissingPackageError
from tests.fakes.clock import FakeClock


def written(folder: Path, text: str) -> Path:
    path = folder / "device.toml"
    path.write_text(text)
    return path


def test_no_secret_stands_in_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    file = written(
        tmp_path,
        f"""
        [[sinks]]
        kind = "mqtt"
        url = "mqtts://broker:8883"
        user = "me"
        password = "file:{tmp_path / "password"}"
        [[sinks]]
        name = "phone"
        kind = "webhook"
        url = "https://example.org/hook?key=hidden"
        secret = "env:HOOK_SECRET"
        """,
    )
    config = load_config(file, {}, {})
    shown = config.model_dump_json()
    assert "hunter2" not in shown and "hidden" not in shown
    assert "env:HOOK_SECRET" in shown and "https://example.org/hook" in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "mqtt"\nurl = "http://b"', "sinks.0.mqtt.url: .*mqtt://"),
        ('kind = "mqtt"\nurl = "mqtt://me:pw@b"', "keys of their own"),
        ('kind = "mqtt"\nurl = "mqtt://b"\ntopic = "a/#"', "topic"),
        ('kind = "mqtt"\nurl = "mqtt://b"\npassword = "hunter2"', "env:NAME or file:PATH"),
        ('kind = "webhook"\nurl = "ftp://b"', "https?://"),
        ('kind = "webhook"\nurl = "https://b"\nsecret = "hunter2"', "env:NAME or file:PATH"),
        ('kind = "webhook"\nurl = "https://b"\nsecrets = "x"', "known are .*authorization.*secret"),
        ('kind = "pigeon"', "'file', 'mqtt', 'webhook'"),
        ('url = "mqtt://b"', "kind"),
        ('kind = "file"\npath = "x"\nname = "a/b"', "name"),
        ('kind = "file"\npath = "x"\n[[sinks]]\nkind = "file"\npath = "y"', "two sinks.*'file'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as failed:
        load_config(written(tmp_path, f"[[sinks]]\n{text}\n"), {}, {})
    assert "hunter2" not in str(failed.value)


def test_a_secret_is_read_from_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("first line \nsecond\n")
    assert secret_of(f"file:{path}", "k") == "first line"
    assert secret_of("env:NAME", "k", {"NAME": "of the environment"}) == "of the environment"
    path.write_text("\n")
    for reference in (f"file:{path}", f"file:{tmp_path / 'none'}", f"file:{tmp_path}", "env:NONE"):
        with pytest.raises(ConfigError, match=r"^k: "):
            secret_of(reference, "k", {})


def test_a_package_that_is_missing_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "driftline_device.sinks.mqtt", raising=False)
    for name in [each for each in sys.modules if each.split(".")[0] == "paho"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "paho", None)
    text = '[[sinks]]\nkind = "mqtt"\nurl = "mqtt://broker"\n'
    config = load_config(written(tmp_path, text), {}, {})
    about = About(device_id="device-1", pair="tiny")
    with pytest.raises(MissingPackageError) as missing:
        open_sinks(config.sinks, about, state=tmp_path, clock=FakeClock())
    assert "driftline[mqtt]" in missing.value.fix


def test_a_secret_that_is_missing_is_said_at_the_start(tmp_path: Path) -> None:
    text = '[[sinks]]\nkind = "webhook"\nurl = "env:NO_SUCH_URL"\n'
    config = load_config(written(tmp_path, text), {}, {})
    about = About(device_id="device-1", pair="tiny")
    with pytest.raises(ConfigError, match=r"sinks\.webhook\.url: the environment variable"):
        open_sinks(config.sinks, about, state=tmp_path, clock=FakeClock())
    assert not (tmp_path / "sinks").exists()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_secret_in_what_is_no_file_is_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "secret")
    with pytest.raises(ConfigError, match="is no file"):
        secret_of(f"file:{tmp_path / 'secret'}", "sinks.hook.secret")
