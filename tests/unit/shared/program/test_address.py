"""host:port: what gRPC can use is taken as it is, all else is refused with what is right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_shared.program.address import check_address, without_password


@pytest.mark.parametrize(
    "text", ["127.0.0.1:7443", "cloud.example:1", "localhost:65535", "[::1]:7443", "[fe80::2]:7"]
)
def test_an_address_is_taken_as_it_is(text: str) -> None:
    assert check_address(text) == text


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("http://cloud.example:7443", "write cloud.example:7443, without http://"),
        ("https://cloud.example:7443/v1", "write cloud.example:7443, without https://"),
        ("grpc://user:word@cloud.example:7443", "write cloud.example:7443, without grpc://"),
        ("dns:///cloud.example:7443", "without dns://"),
        ("::1:7443", r"write \[::1\]:7443"),
        ("fe80::1:2:7443", r"write \[fe80::1:2\]:7443"),
        ("unix:socket:7443", "a host has no colon"),
        ("[cloud]:7443", "no IPv6 address in brackets"),
        ("::1]:7443", "no IPv6 address in brackets"),
        ("[::1]", "the port is a number"),
        ("cloud.example", "the port is a number"),
        ("cloud.example:", "the port is a number"),
        ("cloud.example:0", "from 1 to 65535"),
        ("cloud.example:٣", "the port is a number"),
        (":7443", "the host is missing"),
        ("cloud.example :7443", "a blank"),
        ("cloud.example/x:7443", "a path"),
    ],
)
def test_what_is_none_is_refused_with_what_is_right(text: str, right: str) -> None:
    with pytest.raises(ValueError, match=right):
        check_address(text)


def test_a_port_may_be_left_to_the_system_where_one_listens() -> None:
    assert check_address("127.0.0.1:0", least_port=0) == "127.0.0.1:0"


@given(st.text(alphabet=":/[]1a.@ ", max_size=12))
def test_it_is_taken_or_refused_with_a_sentence(text: str) -> None:
    try:
        assert check_address(text) == text
    except ValueError as error:
        assert "is not host:port" in str(error)


def test_a_password_in_an_address_is_not_shown() -> None:
    for url, shown in (
        ("postgresql://me:s3cr:t@db.example:5432/x", "postgresql://me:***@db.example:5432/x"),
        ("postgresql+psycopg://me:p%40ss@[::1]/x", "postgresql+psycopg://me:***@[::1]/x"),
        ("postgresql://me:a@b@db/x", "postgresql://me:***@db/x"),
        ("postgresql://me@db/x", "postgresql://me@db/x"),
        ("sqlite:////a/b.sqlite", "sqlite:////a/b.sqlite"),
        ("", ""),
    ):
        assert without_password(url) == shown
