"""A document of the repository, and the parts of it that are tables made by code."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftline_shared.errors import DataError

RESULTS = Path("experiments/results")
_MARKED = re.compile(r"^<!-- table: (\S+) -->\n.*?^<!-- /table -->$", re.MULTILINE | re.DOTALL)
_OPENING = re.compile(r"^<!-- table: ", re.MULTILINE)

Rows = Sequence[Sequence[str]]
Renderer = Callable[["Page"], Rows]


@dataclass(frozen=True, kw_only=True)
class Page:
    """One document: where its results are read, and how it links to them."""

    root: Path
    file: Path

    def result(self, name: str) -> Any:
        """The document `experiments/results/<name>.json`.

        Raises:
            DataError: it is not there, or is no JSON.
        """
        file = self.root / RESULTS / f"{name}.json"
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{file} is no results file: {error}") from error

    def link(self, name: str) -> str:
        """A link to the results file, relative to this document."""
        target = os.path.relpath(self.root / RESULTS / f"{name}.json", self.file.parent)
        return f"[{name}.json]({target})"

    def stale(self, tables: Mapping[str, Renderer]) -> Iterator[str]:
        """Names of the tables here that are not what their results say."""
        for found in _MARKED.finditer(self._text()):
            if found[0] != self._block(found[1], tables):
                yield found[1]

    def refresh(self, tables: Mapping[str, Renderer]) -> None:
        """Write every table here anew; a document that is as it should be is not touched."""
        text = self._text()
        made = _MARKED.sub(lambda found: self._block(found[1], tables), text)
        if made != text:
            self.file.write_text(made, encoding="utf-8")

    def _text(self) -> str:
        text = self.file.read_text(encoding="utf-8")
        if len(_OPENING.findall(text)) != len(_MARKED.findall(text)):
            raise DataError(f"{self.file}: a table's markers do not come in pairs")
        return text

    def _block(self, name: str, tables: Mapping[str, Renderer]) -> str:
        if name not in tables:
            raise DataError(f"{self.file}: no table {name!r}; there are {', '.join(tables)}")
        try:
            head, *body = tables[name](self)
        except (LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"{self.file}: table {name!r} cannot be made of its results: {error!r}"
            ) from error
        lines = [_line(head), "|" + "---|" * len(head), *map(_line, body)]
        return "\n".join([f"<!-- table: {name} -->", *lines, "<!-- /table -->"])


def pages(root: Path) -> list[Page]:
    """Every document below `root` that holds a marked table.

    Raises:
        DataError: `root` is no checkout, for it has no results.
    """
    if not (root / RESULTS).is_dir():
        raise DataError(f"{root} has no {RESULTS}: run this at the top of a checkout")
    places = ("*.md", "docs/**/*.md", "*/README.md", "shared/driftline_pairs/*/README.md")
    files = sorted({file for place in places for file in root.glob(place)})
    return [
        Page(root=root, file=file)
        for file in files
        if _OPENING.search(file.read_text(encoding="utf-8"))
    ]


def _line(cells: Sequence[str]) -> str:
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)
