"""No pinned package is older than the version in which its last known fault was mended."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[3]
FLOORS = tomllib.loads((ROOT / ".ci" / "advisories.toml").read_text())


def _pins() -> dict[str, Version]:
    """By name in lower case; torch has its pin in the Makefile."""
    text = (ROOT / "constraints.txt").read_text() + (ROOT / "Makefile").read_text()
    found = re.findall(r"(?m)(?:^|\s)([A-Za-z0-9._-]+)==([0-9][^\s;\"']*)", text)
    return {name.lower().replace("_", "-"): Version(version) for name, version in found}


@pytest.mark.parametrize("name", FLOORS)
def test_a_pin_is_not_below_its_floor(name: str) -> None:
    floor = Version(FLOORS[name]["floor"])
    assert re.fullmatch(r"(CVE|GHSA|PYSEC)-[A-Za-z0-9-]+", FLOORS[name]["advisory"])
    assert _pins()[name] >= floor, FLOORS[name]["advisory"]
