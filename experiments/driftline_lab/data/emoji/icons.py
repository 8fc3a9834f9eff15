"""Reads a set of icons in Iconify's format and gives each as an SVG document.

`chars.json` maps code points to names; `icons.json` has `icons`: name -> `{"body", and where it
differs from the set's: "left", "top", "width", "height"}`, the set's own size at its top, 16 where
nothing is said, and `aliases`: name -> `{"parent"}`, some of them turned or mirrored.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from driftline_lab.data.openmoji.drawings import MAX_SVG_BYTES
from driftline_shared.errors import DataError

MAX_JSON_BYTES = 64 * 1024 * 1024
_MAX_PARENTS = 5
_DEFAULT_SIDE = 16.0
_CHANGES = ("rotate", "hFlip", "vFlip")


@dataclass(frozen=True, kw_only=True)
class IconSet:
    """One designer's icons. `names`: by code point in upper-case hexadecimal, as concepts are."""

    file: Path
    names: Mapping[str, str]

    def svg(self, code: str) -> str:
        """The icon of a code point, black where it leaves the colour to the page.

        Raises DataError for one that the set does not have, or has in a form that is not read.
        """
        if code not in self.names:
            raise DataError(f"{self.file.name} has no icon of U+{code}")
        return svg_of(_icons(self.file), self.names[code], where=self.file.name)


@cache
def open_icons(file: Path) -> IconSet:
    """The icons of a package's file. Raises DataError for one that is not such a package."""
    chars = _member(file, "chars.json")
    try:
        names = {str(code).upper(): str(name) for code, name in chars.items()}
    except AttributeError as error:
        raise DataError(f"{file}: chars.json is no table of code points") from error
    return IconSet(file=file, names=names)


def svg_of(icons: Mapping[str, Any], name: str, *, where: str) -> str:
    """An SVG document of one icon of `icons.json`; `where` names the set in errors."""
    try:
        icon = _found(icons, name)
        left, top = (_number(icon, icons, side, 0.0) for side in ("left", "top"))
        width, height = (_number(icon, icons, side, _DEFAULT_SIDE) for side in ("width", "height"))
        body = icon["body"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where}: icon {name!r} is not in Iconify's format: {error}") from error
    if not isinstance(body, str) or len(body) > MAX_SVG_BYTES or not 0 < width * height < 1e8:
        raise DataError(f"{where}: icon {name!r} has no body of at most {MAX_SVG_BYTES} characters")
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left:g} {top:g} {width:g} {height:g}" color="#000">{body}</svg>'
    )


def _found(icons: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The icon, or what its alias stands for; what the alias says comes first."""
    said: dict[str, Any] = {}
    for _ in range(_MAX_PARENTS):
        if name in icons["icons"]:
            return {**icons["icons"][name], **said}
        alias = icons.get("aliases", {})[name]
        if any(alias.get(change) for change in _CHANGES):
            raise ValueError(f"alias {name!r} is turned or mirrored")
        said = {**{key: value for key, value in alias.items() if key != "parent"}, **said}
        name = alias["parent"]
    raise ValueError(f"aliases go round through {name!r}")


def _number(icon: Mapping[str, Any], icons: Mapping[str, Any], side: str, default: float) -> float:
    return float(icon.get(side, icons.get(side, default)))


@cache
def _icons(file: Path) -> Mapping[str, Any]:
    return _member(file, "icons.json")


def _member(file: Path, name: str) -> Any:
    try:
        with tarfile.open(file, "r:gz") as archive:
            entry = archive.getmember(f"package/{name}")
            if not entry.isfile() or entry.size > MAX_JSON_BYTES:
                raise DataError(f"{file}: {name} is no file of at most {MAX_JSON_BYTES} bytes")
            stream = archive.extractfile(entry)
            return json.loads(stream.read()) if stream else None
    except (OSError, EOFError, tarfile.TarError, KeyError, ValueError) as error:
        raise DataError(f"{file} holds no readable {name}: {error}") from error
