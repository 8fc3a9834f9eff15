"""One decoding step: what a viewer shows comes out, and DataError is all that is raised."""

from __future__ import annotations

import io
import os
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin

from driftline_shared.errors import DataError
from driftline_shared.pictures import KEPT_PIXELS, LEAST_PIXELS, decode_image, read_image
from driftline_shared.pictures.formats import HEIC_FIX, readable

WHITE = [255, 255, 255]
COLORS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def decode(data: bytes, **options: Any) -> NDArray[np.uint8]:
    return decode_image(data, name="it", place="here", **options)


def refusal(data: bytes) -> str:
    with pytest.raises(DataError, match=r"^here: it cannot be read \(") as caught:
        decode(data)
    return str(caught.value)


# -- turned as EXIF says ---------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
def test_a_picture_is_turned_as_viewers_turn_it(form: str, orientation: int) -> None:
    picture = Image.fromarray(np.kron(COLORS, np.ones((8, 8, 1), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture, form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))
    # Whoever shows it: the stored pixels, turned by Pillow's own table.
    stored = Image.open(io.BytesIO(data))
    upright = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    assert upright.shape[:2] == ((40, 56) if orientation < 5 else (56, 40))
    assert np.array_equal(decode(data), upright)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(value: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert np.array_equal(decode(encoded(Image.fromarray(COLORS), exif=exif)), COLORS)


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\xff" * 99])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_breaks_no_picture(form: str, exif: bytes) -> None:
    data = encoded(Image.fromarray(COLORS), form, exif=exif)
    assert decode(data).shape == (5, 7, 3)


# -- transparent on white --------------------------------------------------------------------------


def clear_grey(mode: str) -> Image.Image:
    """Black; the pixel at the corner transparent."""
    image = Image.new(mode, (3, 2), 0)
    image.putpixel((1, 1), 40)
    return image


def rgba() -> Image.Image:
    art = np.zeros((2, 3, 4), np.uint8)
    art[1, 1] = (40, 40, 40, 255)
    return Image.fromarray(art)


@pytest.mark.parametrize(
    "data",
    [
        encoded(rgba()),
        encoded(rgba(), "WEBP", lossless=True),
        encoded(rgba(), "TIFF"),
        encoded(rgba().convert("LA")),
        encoded(rgba().convert("PA"), "TIFF"),
        encoded(clear_grey("L"), transparency=0),
        encoded(clear_grey("L").convert("RGB"), transparency=(0, 0, 0)),
        encoded(rgba().quantize(4)),
        encoded(clear_grey("L").convert("P"), transparency=0),
        encoded(clear_grey("L"), "GIF", transparency=0),
        encoded(Image.fromarray(np.array([[0] * 3, [0, 40 * 257, 0]], np.uint16)), transparency=0),
    ],
    ids=["RGBA", "WEBP", "TIFF", "LA", "PA", "L", "RGB", "P bytes", "P index", "GIF", "grey16"],
)
def test_transparent_pixels_are_white_and_others_as_they_are(data: bytes) -> None:
    pixels = decode(data)
    assert pixels[0, 0].tolist() == WHITE
    assert abs(int(pixels[1, 1, 0]) - 40) <= 1


def test_half_transparent_is_half_white() -> None:
    assert decode(encoded(Image.new("RGBA", (1, 1), (0, 100, 200, 128))))[0, 0].tolist() == [
        127,
        177,
        227,
    ]


# -- values by their range -------------------------------------------------------------------------


def tiff(values: NDArray[Any]) -> bytes:
    return encoded(Image.fromarray(values), "TIFF")


def grey(data: bytes) -> list[int]:
    pixels = decode(data)
    assert (pixels == pixels[..., :1]).all()
    return [int(each) for each in pixels[0, :, 0]]


WIDE = np.array([[0, 257, 25_700, 65_535]])
NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (WIDE.astype(np.uint16), [0, 1, 100, 255]),
        (WIDE.astype(">u2"), [0, 1, 100, 255]),
        (WIDE.astype(np.int32), [0, 1, 100, 255]),
        (np.array([[-10, 0, 10]], np.int32), [0, 128, 255]),
        (np.array([[0, 1 << 20, 1 << 21]], np.int32), [0, 128, 255]),
        (np.array([[0.0, 0.2, 1.0]], np.float32), [0, 51, 255]),
        (np.array([[0.4, 0.6]], np.float32), [102, 153]),
        (np.array([[20.0, 200.0]], np.float32), [20, 200]),
        (np.array([[0.5, 3.0, 10.5]], np.float32), [0, 64, 255]),
        (np.array([[-40.0, 0.0, 120.0]], np.float32), [0, 64, 255]),
        (np.array([[NAN, 0.0, 0.2, INF, -INF]], np.float32), [0, 0, 51, 255, 0]),
        (np.array([[NAN, 1.5, 4.0, INF]], np.float32), [0, 0, 255, 255]),
        (np.array([[NAN, NAN]], np.float32), [0, 0]),
        (np.array([[0x7F800001, 0]], np.uint32).view(np.float32), [0, 0]),  # a NaN that signals
        (np.array([[7.5, 7.5]], np.float32), [128, 128]),
        (np.array([[-3e38, 3e38]], np.float32), [0, 255]),
    ],
)
def test_values_are_scaled_by_their_range(values: NDArray[Any], expected: list[int]) -> None:
    assert grey(tiff(values)) == expected


def test_sixteen_bits_are_read_from_every_format_that_has_them() -> None:
    assert grey(encoded(Image.fromarray(WIDE.astype(np.uint16)))) == [0, 1, 100, 255]
    pgm = b"P5 4 1 65535\n" + WIDE.astype(">u2").tobytes()
    assert grey(pgm) == [0, 1, 100, 255]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB"])
def test_other_modes_are_as_pillow_shows_them(mode: str) -> None:
    picture = Image.fromarray(np.kron(COLORS, np.ones((8, 8, 1), np.uint8))).convert("RGB")
    stored = encoded(picture.convert(mode), "TIFF")
    assert np.array_equal(decode(stored), np.asarray(Image.open(io.BytesIO(stored)).convert("RGB")))
    assert np.abs(decode(stored).astype(int).mean((0, 1)) - COLORS.mean((0, 1))).max() < 40


def test_cmyk_of_photoshop_is_not_inverted() -> None:
    data = encoded(Image.new("RGB", (16, 16), (250, 250, 240)).convert("CMYK"), "JPEG")
    assert b"Adobe" in data
    assert decode(data).min() > 220


def test_the_first_of_several_frames_is_read() -> None:
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "lime", "blue")]
    for form in ("GIF", "WEBP", "PNG", "TIFF", "MPO", "AVIF"):
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        red, green, blue = decode(data)[2, 3].tolist()
        assert red > 200 and green < 60 and blue < 60, form


# -- only what is listed ---------------------------------------------------------------------------


def test_no_postscript_reaches_an_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    fake = tmp_path / "gs"
    fake.write_text(f"#!/bin/sh\ntouch {ran}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n"
    assert "PostScript" in refusal(eps)
    assert not ran.exists()


@pytest.mark.parametrize("form", ["ICO", "TGA", "PCX", "DDS", "SGI", "EPS", "JPEG2000"])
def test_a_format_that_is_not_listed_is_refused(form: str) -> None:
    assert "read are PNG, JPEG" in refusal(encoded(Image.new("RGB", (16, 16)), form))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"hello", "not an image"),
        (b"\0\0\0\x20ftypheic" + bytes(50), HEIC_FIX),
        (b"\0\0\0\x20ftypisom" + bytes(50), "video"),
        (b"<svg xmlns='x'/>", "SVG"),
        (b"%PDF-1.4", "PDF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "broken from its beginning"),
    ],
)
def test_a_refusal_names_what_it_is(
    data: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "driftline_shared.pictures.decoding.readable",
        lambda: tuple(each for each in readable() if each != "HEIF"),
    )
    assert words in refusal(data)


def test_heic_is_read_where_its_package_is() -> None:
    pi_heif = pytest.importorskip("pi_heif")
    assert pi_heif and "HEIF" in readable()


# -- what decoders raise ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("x"), NotImplementedError(), AttributeError("x"), MemoryError(), KeyError(1),
        RecursionError("x"), OverflowError("x"), ZeroDivisionError(), AssertionError(), OSError(5),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_a_decoder_raises_is_one_broken_picture(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: object) -> None:
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    assert refusal(encoded(Image.fromarray(COLORS)))


def test_nothing_is_written_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    palette = encoded(rgba().quantize(4))
    large = encoded(Image.new("1", (10_000, 10_000)))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        decode(palette)
        with pytest.raises(DataError, match="10000 x 10000 pixels"):
            decode(large)
        refusal(b"II*\0\x08\0\0\0\xff\xff" + bytes(30))
        packed = encoded(Image.fromarray(COLORS), "TIFF", compression="tiff_lzw")
        refusal(packed[:8] + b"\xff" * 60 + packed[68:])  # libtiff's own lines
    assert capfd.readouterr() == ("", "")


def test_a_text_chunk_that_unpacks_to_gigabytes_is_refused() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("x", "0" * (8 << 20), zip=True)
    data = encoded(Image.fromarray(COLORS), pnginfo=text)
    assert len(data) < 20_000
    assert refusal(data)


# -- files -----------------------------------------------------------------------------------------


def as_pipe(path: Path) -> None:
    os.mkfifo(path)


def as_link_to_pipe(path: Path) -> None:
    os.mkfifo(path.with_suffix(".pipe"))
    path.symlink_to(path.with_suffix(".pipe"))


def as_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (as_pipe, "a pipe"),
        (as_link_to_pipe, "a pipe"),
        (as_socket, "a socket"),
        (Path.mkdir, "a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
        (lambda path: path.symlink_to(path.name), "symbolic links"),
        (lambda path: path.symlink_to("nowhere"), "does not exist"),
    ],
)
def test_only_a_file_is_opened(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    path = tmp_path / "a.png"
    make(path)
    with pytest.raises(DataError, match=r"^here: image a.png .*" + words):
        read_image(path, place="here")


def test_a_name_that_is_no_text_can_be_printed(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b[31m.png"))
    with pytest.raises(DataError) as caught:
        read_image(path, place="here")
    assert str(caught.value).isascii() and str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 300 + ".png"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"^here: image "):
        read_image(tmp_path / name, place="here")


# -- large ones ------------------------------------------------------------------------------------


def soft(width: int, height: int) -> Image.Image:
    small = np.random.default_rng(1).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def test_what_a_tower_can_see_whole_keeps_every_pixel() -> None:
    picture = soft(2048, 2047)
    assert 2048 * 2047 < KEPT_PIXELS == 2048 * 2048
    assert np.array_equal(decode(encoded(picture, "BMP")), np.asarray(picture))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP"])
def test_a_large_picture_looks_the_same_to_a_tower(form: str) -> None:
    picture = soft(2801, 2003)
    fast = {"JPEG": {"quality": 95}, "PNG": {"compress_level": 1}}
    data = encoded(picture, form, **fast.get(form, {}))
    pixels = decode(data)
    assert LEAST_PIXELS * 0.99 < pixels.shape[0] * pixels.shape[1] < 2.25 * LEAST_PIXELS
    assert abs(pixels.shape[1] / pixels.shape[0] - 2801 / 2003) < 0.01
    for side in (64, 224, 384):
        seen, whole = (
            np.asarray(each.resize((side, side), Image.Resampling.BICUBIC), dtype=int)
            for each in (Image.fromarray(pixels), picture)
        )
        assert np.abs(seen - whole).mean() < 1.0


@pytest.mark.parametrize("size", [(4_500_000, 1), (1, 4_500_000), (3, 1_500_000), (70_000, 70)])
def test_strips_of_any_shape_are_reduced(size: tuple[int, int]) -> None:
    pixels = decode(encoded(Image.new("L", size, 77)))
    assert (pixels == 77).all() and 0 < pixels[..., 0].size < size[0] * size[1]


def test_a_large_picture_in_any_mode_is_as_its_small_one() -> None:
    art = np.zeros((2200, 2100, 4), np.uint8)
    art[:, 700:] = (40, 80, 120, 255)
    wide = np.repeat(np.linspace(-3, 9, 2100, dtype=np.float32)[None], 2200, axis=0)
    pixels = decode(encoded(Image.fromarray(art)))
    assert pixels.shape == (1100, 1050, 3)
    assert pixels[400, 100].tolist() == WHITE and pixels[400, 900].tolist() == [40, 80, 120]
    ramp = grey(tiff(wide))
    assert ramp[0] == 0 and ramp[-1] == 255 and abs(ramp[len(ramp) // 2] - 128) <= 1


def test_a_large_photo_that_lies_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = soft(3200, 1600)
    pixels = decode(encoded(picture, "JPEG", exif=exif, quality=95))
    right = np.asarray(picture.rotate(-90, expand=True).resize(pixels.shape[1::-1]), dtype=int)
    assert pixels.shape[0] == 2 * pixels.shape[1]
    assert np.abs(pixels.astype(int) - right).mean() < 2.0


@pytest.mark.parametrize(
    ("form", "options", "least_mb"),
    [
        ("PNG", {"compress_level": 1}, 70),
        ("WEBP", {"lossless": True, "quality": 0}, 215),
        ("JPEG", {}, 30),
        ("JPEG", {"progressive": True}, 95),
    ],
)
def test_what_takes_too_much_of_the_memory_there_is_is_refused(
    form: str, options: dict[str, Any], least_mb: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(Image.new("RGB", (2500, 1800), "red"), form, **options)
    memory = "driftline_shared.pictures.decoding._memory_bytes"
    monkeypatch.setattr(memory, lambda: (least_mb - 10) << 20)
    with pytest.raises(DataError, match=r"2500 x 1800 pixels, which take \d+ MB to decode"):
        decode(data)
    monkeypatch.setattr(memory, lambda: least_mb << 20)
    assert decode(data).shape == (900, 1250, 3)
    monkeypatch.setattr(memory, lambda: None)
    assert decode(data).shape == (900, 1250, 3)
