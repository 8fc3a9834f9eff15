"""Packages of icons in Iconify's format, with a handful of icons drawn here."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from driftline_lab.data.emoji.packages import PACKAGES
from driftline_lab.data.openmoji.concepts import Concept, Role, concepts

CONCEPTS: tuple[Concept, ...] = (*concepts(Role.SEEN)[:5], *concepts(Role.UNSEEN)[:4])
SIDES = {"twemoji": 36, "noto": 128, "fluent": 32, "contrast": 32}


def write_package(path: Path, members: Mapping[str, Any]) -> None:
    """A package with these JSON files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, value in members.items():
            text = json.dumps(value).encode()
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))


def icons_of(design: str, drawn: Sequence[Concept] = CONCEPTS) -> dict[str, Any]:
    """`icons.json` and `chars.json` of a designer: each thing is a box of its own width."""
    side, fill = SIDES[design], "currentColor" if design == "contrast" else "#2a7"
    names = {concept.code: concept.name.replace(" ", "-") for concept in drawn}
    bodies = {
        name: {"body": f'<path fill="{fill}" d="M2 2h{side - 4 - number}v{side // 2}H2z"/>'}
        for number, name in enumerate(names.values())
    }
    return {
        "icons.json": {"prefix": design, "icons": bodies, "width": side, "height": side},
        "chars.json": {code.lower(): name for code, name in names.items()},
    }


def write_packages(folder: Path) -> None:
    """All packages of the world `emoji`; Fluent's lack the last concept."""
    for design, package in PACKAGES.items():
        drawn = CONCEPTS[:-1] if design in ("fluent", "contrast") else CONCEPTS
        write_package(folder / package.file, icons_of(design, drawn))
