"""What lets a process into a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_cloud.workers.cluster.access import (
    Access,
    in_force,
    is_loopback,
    local_variables,
    work_variables,
)
from driftline_cloud.workers.cluster.secret import token_place
from driftline_shared.errors import ConfigError

TOKEN = "0123456789abcdef"


def test_token_authentication_is_always_on(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    access = Access(token=token_place(tmp_path / "token", {}))
    environment = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "of another cluster"}
    before = dict(environment)
    with in_force(access.variables(environment), environment):
        assert environment == {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"),
        }
    assert environment == before


def test_without_a_token_nothing_is_started(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not there"):
        Access(token=token_place(tmp_path / "token", {})).variables({})


def test_certificates_are_three_files(tmp_path: Path) -> None:
    access = Access(token=token_place(None, {"RAY_AUTH_TOKEN": TOKEN}), tls=tmp_path)
    (tmp_path / "ca.crt").touch()
    with pytest.raises(ConfigError, match=r"tls\.crt, tls\.key"):
        access.variables({"RAY_AUTH_TOKEN": TOKEN})
    (tmp_path / "tls.crt").touch()
    (tmp_path / "tls.key").touch()
    found = access.variables({"RAY_AUTH_TOKEN": TOKEN})
    assert found["RAY_USE_TLS"] == "1"
    assert found["RAY_TLS_SERVER_KEY"] == str(tmp_path / "tls.key")


def test_a_cluster_of_this_process_has_a_token_of_its_own() -> None:
    one, other = local_variables({}), local_variables({})
    assert one["RAY_AUTH_MODE"] == "token"
    assert one["RAY_AUTH_TOKEN"] != other["RAY_AUTH_TOKEN"]
    assert "RAY_AUTH_TOKEN" not in local_variables({"RAY_AUTH_TOKEN_PATH": "mine"})


def test_work_is_not_put_behind_every_other_program() -> None:
    assert local_variables({})["RAY_worker_niceness"] == "0"
    assert work_variables({"RAY_worker_niceness": "7"}) == {"RAY_worker_niceness": "7"}


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("10.0.0.5", False),
        ("ray-head", False),
    ],
)
def test_which_hosts_are_loopback(host: str, own: bool) -> None:
    assert is_loopback(host) is own
