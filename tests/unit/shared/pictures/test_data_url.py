"""Data URLs as clients write them."""

from __future__ import annotations

import base64
import textwrap
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_shared.pictures.data_url import from_base64, payload_of

HEADERS = [
    "data:image/png;base64,",
    "DATA:IMAGE/PNG;BASE64,",
    "  data:image/png;base64,",
    "\n\tdata:image/svg+xml;charset=utf-8;base64,",
    "data:image/png; base64,",
]


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_is_read_as_browsers_read_it(header: str) -> None:
    assert payload_of(header + "AAAA") == "AAAA"


@pytest.mark.parametrize(
    "url",
    ["", "AAAA", "data:text/plain;base64,AAAA", "data:image/png,AAAA", "data:image/png;base64"],
)
def test_what_is_no_data_url_of_an_image(url: str) -> None:
    assert payload_of(url) is None


@given(data=st.binary(max_size=300))
def test_every_way_to_write_base64_is_read(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    ways = [
        text,
        text.rstrip("="),
        base64.urlsafe_b64encode(data).decode(),
        base64.encodebytes(data).decode(),
        "\r\n".join(textwrap.wrap(text, 76)) + "\r\n",
        f"  {text}\t",
        quote(text, safe=""),
    ]
    assert [from_base64(way) for way in ways] == [data] * len(ways)


@pytest.mark.parametrize(
    "text", ["!!!!", "é", "AAAA=AAAA", "A", "AAAAA", "AA==AA==", "%ZZ", "A\0AA"]
)
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_base64(text)
