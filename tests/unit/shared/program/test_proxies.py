"""Proxies of the environment: this machine is spared, and the one that is used is named."""

from __future__ import annotations

import pytest

from driftline_shared.program.proxies import (
    is_here,
    proxy_advice,
    proxy_for,
    spare_loopback,
)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.", "cam.localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]",
     "0.0.0.0", "[::ffff:127.0.0.1]"],
)  # fmt: skip
def test_this_machine(host: str) -> None:
    assert is_here(host)


@pytest.mark.parametrize("host", ["cloud.example", "localhost.example", "10.0.0.1", "::2", ""])
def test_another_machine(host: str) -> None:
    assert not is_here(host)


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "grpc_proxy", "ALL_PROXY"])
def test_this_machine_is_added_to_the_exceptions(name: str) -> None:
    environment = {name: "http://proxy:3128", "NO_PROXY": "intranet, 127.0.0.1"}
    spare_loopback(environment)
    spare_loopback(environment)
    assert environment["no_proxy"] == "intranet,127.0.0.1,localhost,::1,127.0.0.0/8"
    assert environment["NO_PROXY"] == environment["no_proxy"]


def test_where_there_is_no_proxy_nothing_is_set() -> None:
    environment = {"http_proxy": "", "PATH": "x"}
    spare_loopback(environment)
    assert environment == {"http_proxy": "", "PATH": "x"}


def test_grpcs_own_exceptions_are_kept_and_added_to() -> None:
    environment = {"grpc_proxy": "http://proxy:1", "no_grpc_proxy": "intranet", "no_proxy": "*"}
    spare_loopback(environment)
    assert environment["no_grpc_proxy"].startswith("intranet,localhost,")
    assert environment["no_proxy"] == "*"


def test_the_proxy_of_an_address_is_named_without_its_password() -> None:
    environment = {"http_proxy": "http://me:secret@proxy.example:3128/"}
    assert proxy_for("cloud.example:7443", environment) == "http_proxy=http://proxy.example:3128"
    advice = proxy_advice("cloud.example:7443", environment)
    assert "add cloud.example to no_proxy" in advice and "secret" not in advice
    assert proxy_advice("[::1]:7443", environment) == ""


@pytest.mark.parametrize("exceptions", ["*", "example", "cloud.example", "x, .example"])
def test_an_exception_goes_there_directly(exceptions: str) -> None:
    environment = {"https_proxy": "proxy:3128", "no_proxy": exceptions}
    assert proxy_for("cloud.example:7443", environment) is None
    other = proxy_for("cloud.test:7443", environment)
    assert other == (None if exceptions == "*" else "https_proxy=http://proxy:3128")


def test_a_network_is_an_exception() -> None:
    environment = {"http_proxy": "proxy:1", "no_proxy": "10.0.0.0/8,not/anetwork"}
    assert proxy_for("10.1.2.3:7443", environment) is None
    assert proxy_for("11.1.2.3:7443", environment) is not None
