"""Regions: cells come back where they were, for fewer bytes, and nothing hostile is decoded."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from driftline_shared.codec.regions import (
    DEFAULT_SIDE,
    RegionEncoder,
    RegionSettings,
    compose,
)
from driftline_shared.errors import Reason, SampleError
from driftline_shared.tokens import (
    MAX_PICTURE_SIDE,
    MAX_SAMPLE_BYTES,
    MAX_THUMBNAIL_SIDE,
    Grid,
    RegionLayout,
    Regions,
)
from tests.fakes.pictures import draw_picture, to_jpeg

GRID = Grid(rows=8, cols=8)
PICTURE = draw_picture(3, 224, 224)
SOME = np.array([9, 10, 11, 20, 21, 40])


def regions_of(
    picture: np.ndarray = PICTURE, positions: np.ndarray = SOME, grid: Grid = GRID, **options: int
) -> Regions:
    return RegionEncoder(picture, grid, RegionSettings(**options)).encode(positions)


def cells_of(positions: np.ndarray, grid: Grid, height: int, width: int) -> np.ndarray:
    """(height, width) bool: the pixels of the cells, one pixel after the other."""
    found = np.zeros((height, width), dtype=bool)
    kept = set(positions.tolist())
    for row in range(grid.rows):
        for col in range(grid.cols):
            if row * grid.cols + col in kept:
                top, bottom = row * height // grid.rows, (row + 1) * height // grid.rows
                left, right = col * width // grid.cols, (col + 1) * width // grid.cols
                found[top:bottom, left:right] = True
    return found


def test_kept_cells_come_back_sharp_and_the_rest_blurred() -> None:
    regions = regions_of(thumbnail_side=16)
    assert regions.layout is RegionLayout.MOSAIC
    back = compose(regions, SOME, GRID)
    assert back.shape == PICTURE.shape and back.dtype == np.uint8
    error = np.abs(back.astype(int) - PICTURE).mean(axis=-1)
    kept = cells_of(SOME, GRID, 224, 224)
    assert error[kept].mean() < 6
    assert error[~kept].mean() > 2 * error[kept].mean()


def ramps(height: int, width: int) -> np.ndarray:
    """A picture whose every place has a colour of its own."""
    down, across = np.mgrid[:height, :width]
    return np.stack(
        [255 * down // height, 255 * across // width, 255 - 255 * down // height], axis=-1
    ).astype(np.uint8)


@given(
    rows=st.integers(1, 9), cols=st.integers(1, 9), height=st.integers(40, 120),
    width=st.integers(40, 120), seed=st.integers(0, 99), data=st.data(),
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_any_choice_of_cells_of_any_picture_comes_back(
    rows: int, cols: int, height: int, width: int, seed: int, data: st.DataObject
) -> None:
    grid, picture = Grid(rows=rows, cols=cols), ramps(height, width)
    count = data.draw(st.integers(1, grid.num_tokens))
    positions = np.sort(np.random.default_rng(seed).permutation(grid.num_tokens)[:count])
    # The thumbnail is one grey pixel, so whatever is right came with the cells.
    regions = regions_of(picture, positions, grid, thumbnail_side=1, quality=95)
    back = compose(regions, positions, grid)
    error = np.abs(back.astype(int) - picture).max(axis=-1)
    kept = cells_of(positions, grid, height, width)
    assert np.median(error[kept]) <= 10 and error[kept].mean() <= 14
    assert (regions.height, regions.width) == (height, width)
    if regions.layout is RegionLayout.MOSAIC and count < grid.num_tokens:
        assert (back[~kept] == back[~kept][0]).all()


def test_cells_do_not_bleed_into_each_other() -> None:
    """Two cells that lie side by side in the mosaic and far apart in the picture."""
    picture = np.random.default_rng(0).integers(100, 156, (256, 256, 3), dtype=np.uint8)
    picture[:32, :32], picture[-32:, -32:] = (255, 0, 0), (0, 0, 255)
    positions = np.array([0, 63])
    regions = regions_of(picture, positions, thumbnail_side=8)
    assert regions.layout is RegionLayout.MOSAIC
    back = compose(regions, positions, GRID).astype(int)
    # Decoders smooth colours over one pixel, whatever the blocks hold.
    assert np.abs(back[1:31, 1:31] - (255, 0, 0)).max() <= 3
    assert np.abs(back[-31:-1, -31:-1] - (0, 0, 255)).max() <= 3


def test_the_smaller_of_parts_and_whole_is_sent() -> None:
    whole = len(regions_of(draw_picture(0, 64, 64)).crops)
    few, all_ = regions_of(), regions_of(positions=np.arange(64))
    assert (few.layout, all_.layout) == (RegionLayout.MOSAIC, RegionLayout.WHOLE)
    assert few.num_bytes < all_.num_bytes
    assert all_.thumbnail == b""
    # A thumbnail as large as the picture is the picture: parts beside it can gain nothing.
    assert regions_of(draw_picture(0, 64, 64), np.array([5])).num_bytes == whole


def test_bytes_fall_with_the_cells_and_rise_with_quality() -> None:
    sizes = [regions_of(positions=np.arange(count)).num_bytes for count in (2, 6, 12)]
    assert sizes == sorted(set(sizes))
    sizes = [regions_of(quality=quality).num_bytes for quality in (30, 60, 90)]
    assert sizes == sorted(set(sizes))


def test_same_picture_same_bytes() -> None:
    assert regions_of() == regions_of(PICTURE.copy(), SOME.astype(np.int32))


def test_the_canvas_is_the_pairs_or_the_pictures_own_within_bounds() -> None:
    def size(picture: np.ndarray, canvas: tuple[int, int] | None) -> tuple[int, int]:
        encoder = RegionEncoder(picture, GRID, RegionSettings(), canvas=canvas)
        regions = encoder.encode(SOME)
        assert compose(regions, SOME, GRID).shape == (regions.height, regions.width, 3)
        return regions.height, regions.width

    assert size(PICTURE, (336, 280)) == (336, 280)
    assert size(PICTURE, None) == (224, 224)
    assert size(draw_picture(0, 300, 1_200), None) == (128, DEFAULT_SIDE)


def test_nothing_of_a_picture_is_shown_by_accident() -> None:
    assert "xff" not in repr(regions_of())


@pytest.mark.parametrize(
    ("picture", "grid"),
    [
        (PICTURE, Grid(frames=2, rows=8, cols=8)),
        (np.zeros((2, 64, 64, 3), dtype=np.uint8), GRID),
        (draw_picture(0, 7, 64), GRID),
        (draw_picture(0, 64, 7), GRID),
    ],
)
def test_clips_and_pictures_smaller_than_the_grid_have_no_regions(
    picture: np.ndarray, grid: Grid
) -> None:
    with pytest.raises(SampleError):
        RegionEncoder(picture, grid, RegionSettings())


def test_cells_of_too_many_pixels_are_refused_before_they_are_made() -> None:
    grid = Grid(rows=200, cols=200)
    encoder = RegionEncoder(draw_picture(0, 200, 200), grid, RegionSettings())
    with pytest.raises(SampleError, match="too many"):
        encoder.encode(np.arange(40_000))


@pytest.mark.parametrize(
    "wrong",
    [{"quality": 29}, {"quality": 96}, {"thumbnail_side": 0}, {"thumbnail_side": 257}],
)
def test_wrong_settings_are_named(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        RegionSettings(**wrong)


# -- bytes from outside --------------------------------------------------------------------------

HOME = regions_of()
MOSAIC = Image.open(io.BytesIO(HOME.crops))
THUMBNAIL = Image.open(io.BytesIO(HOME.thumbnail))


def claim_size(jpeg: bytes, height: int, width: int) -> bytes:
    """The file with another size in its frame header."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def png_bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in a few bytes."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def many_scans(jpeg: bytes, count: int) -> bytes:
    """The file with its scan repeated: each costs a pass over all pixels."""
    start = jpeg.index(b"\xff\xda")
    return jpeg[:start] + jpeg[start:-2] * count + jpeg[-2:]


HOSTILE: dict[str, Callable[[Regions], Regions]] = {
    "no image": lambda r: replace(r, crops=b"x" * 500),
    "the beginning only": lambda r: replace(r, crops=r.crops[:300]),
    "half an image": lambda r: replace(r, crops=r.crops[: len(r.crops) // 2]),
    "half a thumbnail": lambda r: replace(r, thumbnail=r.thumbnail[: len(r.thumbnail) // 2]),
    "no thumbnail": lambda r: replace(r, thumbnail=b""),
    "no crops": lambda r: replace(r, crops=b""),
    "a thumbnail beside the whole": lambda r: replace(r, layout=RegionLayout.WHOLE),
    "crops said to be the whole": lambda r: replace(r, layout=RegionLayout.WHOLE, thumbnail=b""),
    "another canvas": lambda r: replace(r, height=320),
    "a PNG": lambda r: replace(r, crops=to_jpeg(MOSAIC, format="PNG")),
    "a PNG bomb": lambda r: replace(r, crops=png_bomb()),
    "a GIF": lambda r: replace(r, thumbnail=to_jpeg(THUMBNAIL, format="GIF")),
    "grey": lambda r: replace(r, crops=to_jpeg(MOSAIC.convert("L"))),
    "four colours": lambda r: replace(r, crops=to_jpeg(MOSAIC.convert("CMYK"))),
    "progressive": lambda r: replace(r, crops=to_jpeg(MOSAIC, progressive=True)),
    "many scans": lambda r: replace(r, crops=many_scans(r.crops, 50)),
    "several pictures": lambda r: replace(
        r, crops=to_jpeg(MOSAIC, format="MPO", save_all=True, append_images=[MOSAIC])
    ),
    "a claimed 60,000 x 60,000": lambda r: replace(r, crops=claim_size(r.crops, 60_000, 60_000)),
    "a claimed 10,000 x 10,000": lambda r: replace(r, crops=claim_size(r.crops, 10_000, 10_000)),
    "a claimed size of nothing": lambda r: replace(r, crops=claim_size(r.crops, 0, 0)),
    "a row too many": lambda r: replace(
        r, crops=to_jpeg(MOSAIC.resize((MOSAIC.width, MOSAIC.height + 1)))
    ),
    "a large thumbnail": lambda r: replace(
        r, thumbnail=to_jpeg(THUMBNAIL.resize((MAX_THUMBNAIL_SIDE + 1, 10)))
    ),
    "a canvas too large": lambda r: replace(r, width=MAX_PICTURE_SIDE + 1),
    "a canvas of nothing": lambda r: replace(r, height=0),
    "a canvas below the grid": lambda r: replace(r, height=7),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pictures_are_refused(name: str) -> None:
    with pytest.raises(SampleError) as caught:
        compose(HOSTILE[name](HOME), SOME, GRID)
    assert caught.value.reason is Reason.SAMPLE_PICTURE_INVALID


def test_other_counts_of_tokens_are_other_mosaics() -> None:
    with pytest.raises(SampleError):
        compose(HOME, SOME[:2], GRID)
    with pytest.raises(SampleError):
        compose(HOME, np.arange(0), GRID)


def test_too_many_bytes_have_a_reason_of_their_own() -> None:
    with pytest.raises(SampleError) as caught:
        compose(replace(HOME, crops=bytes(MAX_SAMPLE_BYTES)), SOME, GRID)
    assert caught.value.reason is Reason.SAMPLE_TOO_LARGE


def test_no_pixel_is_decoded_of_a_wrong_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.load", load)
    with pytest.raises(SampleError, match="is a RGB JPEG of 2000"):
        compose(replace(HOME, crops=claim_size(HOME.crops, 2_000, 2_000)), SOME, GRID)
    with pytest.raises(SampleError, match="AssertionError"):  # the right size is
        compose(HOME, SOME, GRID)


@given(part=st.sampled_from(["thumbnail", "crops"]), data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_damage_gives_a_picture_of_the_right_size_or_a_refusal(
    part: str, data: st.DataObject
) -> None:
    body = bytearray(getattr(HOME, part))
    for _ in range(data.draw(st.integers(1, 4))):
        # Headers are the first half of so small a file: damage there is what decoders trip over.
        at = data.draw(st.integers(0, min(len(body), 700) - 1))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    try:
        back = compose(replace(HOME, **{part: bytes(body)}), SOME, GRID)  # type: ignore[arg-type]
    except SampleError:
        return
    assert back.shape == PICTURE.shape
