"""Small files that would take hours or gigabytes are refused before they are decoded."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from driftline_shared.errors import DataError
from driftline_shared.pictures import decode_image
from driftline_shared.pictures.structure import MAX_ENTRIES, MAX_SCANS, check_structure


def jpeg(**options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def decode(data: bytes) -> None:
    decode_image(data, name="it", place="here")


def with_scans(num: int) -> bytes:
    """One more scan after the other: the last of a progressive file, over and over."""
    data = jpeg(progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + num * scan + data[-2:]


def test_thousands_of_scans_are_refused() -> None:
    with pytest.raises(DataError, match=f"here: it has more than {MAX_SCANS} scans"):
        decode(with_scans(10_000))
    decode(with_scans(20))


def test_what_lies_behind_or_beside_the_picture_is_no_scan() -> None:
    """The clip of a moving photo, a profile: any bytes."""
    beside = b"\xff\xe2" + struct.pack(">H", 2 + 400) + b"\xff\xda" * 200
    data = jpeg(quality=95)
    decode(data[:2] + beside + data[2:] + b"\xff\xda" * 1000)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_a_table_of_millions_is_refused(order: str, big: bool) -> None:
    mark = b"II" if order == "<" else b"MM"
    head = (
        mark + struct.pack(order + "HHHQ", 43, 8, 0, 16)
        if big
        else mark + struct.pack(order + "HI", 42, 8)
    )
    count, entry = ("Q", "HHQQ") if big else ("H", "HHII")
    for num, kind, refused in (
        (MAX_ENTRIES + 1, 4, True),
        (MAX_ENTRIES, 4, False),
        (MAX_ENTRIES + 1, 7, False),
    ):
        table = struct.pack(order + entry, 273, kind, num, 8)
        data = head + struct.pack(order + count, 1) + table + bytes(8)
        if refused:
            with pytest.raises(DataError, match=r"a table \(tag 273\) of 200001 numbers"):
                check_structure(data)
        else:
            check_structure(data)


@given(data=st.binary(max_size=200))
@pytest.mark.parametrize("head", [b"\xff\xd8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b""])
def test_any_bytes_are_looked_through(head: bytes, data: bytes) -> None:
    try:
        check_structure(head + data)
        check_structure(head + data + b"\xff\xda" * 100)
    except DataError as error:
        assert "more than" in str(error) or "a table" in str(error)
