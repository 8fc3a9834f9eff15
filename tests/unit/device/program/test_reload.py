"""Settings that a running daemon takes up, and those that wait for the next start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from structlog.testing import capture_logs

from driftline_device.api.access import Access
from driftline_device.api.errors import ApiError
from driftline_device.api.holders import Scope
from driftline_device.api.key import Key
from driftline_device.config import DeviceConfig, load_config
from driftline_device.daemon.daemon import Daemon
from driftline_device.program.assembly import open_daemon
from driftline_device.program.reload import Reloader, changes, with_live
from driftline_device.sources.table import open_source
from driftline_shared.errors import ConfigError
from driftline_shared.pair.pair import load_pair
from driftline_shared.tokens import SamplingPolicy
from tests.fakes.runtime import FakeRuntime, write_dataset, write_pair
from tests.fakes.runtime import stream as questions

NEW = {
    "pace": 50.0,
    "poll_s": 2.0,
    "log.level": "debug",
    "log.form": "json",
    "probe.latency_ratio": 9.0,
    "watch.num_answers": 3,
    "sampling.gate_quantile": 0.25,
    "batch_size": 3,
    "drain_s": 1.0,
    "threads": 4,
}


def config(tmp_path: Path, overrides: dict[str, Any]) -> DeviceConfig:
    return load_config(None, {"state": str(tmp_path / "state"), **overrides}, {})


@pytest.fixture(scope="module")
def pair_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def daemon(tmp_path: Path, pair_dir: Path) -> Iterator[Daemon]:
    settings = config(tmp_path, {"sampling.token_scorer": "magnitude"})
    with open_daemon(settings, load_pair(pair_dir), FakeRuntime()) as opened:
        yield opened


def test_what_can_change_does_and_the_rest_waits(tmp_path: Path, daemon: Daemon) -> None:
    old, new = config(tmp_path, {}), config(tmp_path, NEW)
    with capture_logs() as logs:
        Reloader(daemon, old, lambda: new).reload()
    assert (daemon._settings.pace, daemon._settings.batch_size) == (50.0, 3)
    assert daemon._parts.applier._settings.probe.latency_ratio == 9.0
    assert daemon._parts.applier._settings.watch.num_answers == 3
    assert logs == [
        {
            "event": "settings.taken",
            "log_level": "info",
            "keys": [
                "batch_size",
                "log.level",
                "pace",
                "poll_s",
                "probe.latency_ratio",
                "sampling.gate_quantile",
                "watch.num_answers",
            ],
        },
        {
            "event": "settings.wait",
            "log_level": "warning",
            "keys": ["drain_s", "log.form", "threads"],
            "fix": "These hold from the next start on.",
        },
    ]
    merged = with_live(old, new)
    assert changes(merged, new) == ["drain_s", "log.form", "threads"]


def test_the_cloud_s_policy_is_not_overruled(tmp_path: Path, daemon: Daemon) -> None:
    path = write_dataset(tmp_path / "data", questions(2, hard=False))
    old = config(tmp_path, {})
    reloader = Reloader(daemon, old, lambda: config(tmp_path, {"sampling.gate_quantile": 0.25}))
    reloader.reload()
    daemon.run(open_source(path))
    assert daemon._parts.sampler.policy.gate_quantile == 0.25
    daemon.adopt_policy(SamplingPolicy(revision=3, gate_quantile=0.75))
    daemon.run(open_source(path))
    reloader.reload()
    daemon.run(open_source(path))
    assert daemon._parts.sampler.policy.revision == 3


def test_settings_that_do_not_read_change_nothing(tmp_path: Path, daemon: Daemon) -> None:
    before = daemon._settings

    def broken() -> DeviceConfig:
        raise ConfigError("pace: too fast")

    with capture_logs() as logs:
        Reloader(daemon, config(tmp_path, {}), broken).reload()
    assert daemon._settings is before
    assert [(row["event"], row["error"]) for row in logs] == [("settings.kept", "pace: too fast")]
    assert logs[0]["fix"]


def test_another_token_opens_the_api_and_none_does_not(tmp_path: Path, daemon: Daemon) -> None:
    file = tmp_path / "token"
    file.write_text("a first token of the API\n")
    settings = config(tmp_path, {"api.port": 8_000, "api.token_file": str(file)})
    key = Key(settings.api)
    read = [settings]
    reloader = Reloader(daemon, settings, lambda: read[0], key)

    def status(token: str) -> int:
        headers = [(b"authorization", f"Bearer {token}".encode())]
        request = Request({"type": "http", "headers": headers})
        try:
            asyncio.run(Access(key, Scope.ASK)(request))
        except ApiError as error:
            return error.status
        return 200

    assert status("a first token of the API") == 200
    file.write_text("a second token of the API\n")
    reloader.reload()
    assert status("a first token of the API") == 401
    assert status("a second token of the API") == 200
    for broken in ("", "short"):
        file.write_text(broken)
        with capture_logs() as logs:
            reloader.reload()
        assert [row["event"] for row in logs] == ["settings.kept"]
        assert status("a second token of the API") == 200
    read[0] = config(tmp_path, {"api.port": 8_000, "pace": 7.0})
    with capture_logs() as logs:
        reloader.reload()
    assert "restart" in logs[0]["error"]
    assert daemon._settings.pace == 0.0
    assert status("a second token of the API") == 200
    read[0] = config(tmp_path, {"api.port": 8_000, "api.token": "a third token of the API"})
    with capture_logs() as logs:
        reloader.reload()
    assert logs[0]["keys"] == ["api.token", "api.token_file"]
    assert "third" not in str(logs)
    assert status("a third token of the API") == 200
