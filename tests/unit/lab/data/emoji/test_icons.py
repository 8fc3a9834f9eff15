"""Icons of a package become SVG documents; what is not in the format is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from driftline_lab.data.emoji.icons import open_icons, svg_of
from driftline_lab.data.openmoji.drawings import DRAWING_SIZE, rasterized
from driftline_shared.errors import DataError
from tests.fakes.icon_packages import CONCEPTS, icons_of, write_package

SET: dict[str, Any] = {
    "width": 32,
    "height": 32,
    "icons": {
        "plain": {"body": "<path/>"},
        "wide": {"body": "<g/>", "width": 40, "left": -4},
        "bodiless": {"width": 3},
        "numbered": {"body": 3},
    },
    "aliases": {
        "other": {"parent": "plain"},
        "third": {"parent": "other", "width": 20},
        "turned": {"parent": "plain", "rotate": 1},
        "round": {"parent": "trip"},
        "trip": {"parent": "round"},
    },
}


@pytest.mark.parametrize(
    ("name", "box", "body"),
    [
        ("plain", "0 0 32 32", "<path/>"),
        ("wide", "-4 0 40 32", "<g/>"),
        ("other", "0 0 32 32", "<path/>"),
        ("third", "0 0 20 32", "<path/>"),
    ],
)
def test_an_icon_is_a_document_of_its_own_size(name: str, box: str, body: str) -> None:
    svg = svg_of(SET, name, where="set")
    assert f'viewBox="{box}"' in svg
    assert svg.endswith(f">{body}</svg>")


def test_a_set_without_a_size_has_icons_of_sixteen() -> None:
    assert 'viewBox="0 0 16 16"' in svg_of({"icons": {"a": {"body": ""}}}, "a", where="set")


@pytest.mark.parametrize("name", ["bodiless", "numbered", "turned", "round", "absent"])
def test_what_is_not_in_the_format_is_refused_by_name(name: str) -> None:
    with pytest.raises(DataError, match=f"set: icon '{name}'"):
        svg_of(SET, name, where="set")


def test_a_code_point_finds_its_icon_which_takes_the_colour_black(tmp_path: Path) -> None:
    package = tmp_path / "set.tgz"
    write_package(package, icons_of("contrast"))
    icons = open_icons(package)
    assert set(icons.names) == {concept.code for concept in CONCEPTS}
    art = rasterized(tmp_path / "art.png", lambda: icons.svg(CONCEPTS[0].code))
    assert art.size == (DRAWING_SIZE, DRAWING_SIZE)
    assert art.getpixel((40, 40)) == (0, 0, 0, 255)
    assert art.getpixel((250, 250)) == (0, 0, 0, 0)
    with pytest.raises(DataError, match=r"no icon of U\+1F600"):
        icons.svg("1F600")


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00 cut"])
def test_a_file_that_is_no_package_is_refused(content: bytes, tmp_path: Path) -> None:
    package = tmp_path / "set.tgz"
    package.write_bytes(content)
    with pytest.raises(DataError, match=r"holds no readable chars\.json"):
        open_icons(package)


def test_a_package_without_its_table_is_refused(tmp_path: Path) -> None:
    write_package(tmp_path / "one.tgz", {"icons.json": SET})
    write_package(tmp_path / "two.tgz", {"chars.json": ["2049"]})
    with pytest.raises(DataError, match=r"no readable chars\.json"):
        open_icons(tmp_path / "one.tgz")
    with pytest.raises(DataError, match="no table of code points"):
        open_icons(tmp_path / "two.tgz")
