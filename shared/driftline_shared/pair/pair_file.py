"""Writes what was fitted into a pair's TOML file; comments and all other keys stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from driftline_shared.errors import PairError
from driftline_shared.pair.spec import TranslatorSpec, read_spec
from driftline_shared.tokens import Grid


def write_fitted(
    file: Path,
    *,
    digest: str | None = None,
    grid: Grid | None = None,
    translator: TranslatorSpec | None = None,
) -> None:
    """Set `[token_space]` digest and grid, `[translator]`; None leaves a key alone.

    Raises PairError if the file cannot be read.
    """
    import tomlkit

    document = _parsed(file)
    if digest is not None:
        _table(document, "token_space")["digest"] = digest
    if grid is not None:
        inline = tomlkit.inline_table()
        inline.update({"frames": grid.frames, "rows": grid.rows, "cols": grid.cols})
        _table(document, "token_space")["grid"] = inline
    if translator is not None:
        _table(document, "translator").update(translator.model_dump(exclude_none=True))
    _replace(file, document)


def write_name(file: Path, name: str) -> None:
    """Set the pair's name. Raises PairError for a name that no pair can have."""
    document = _parsed(file)
    document["name"] = name
    _replace(file, document)


def write_query_targets(file: Path, targets: Sequence[str]) -> None:
    """Set `[adapter]` query_targets. Raises PairError if the file cannot be read."""
    document = _parsed(file)
    _table(document, "adapter")["query_targets"] = list(targets)
    _replace(file, document)


def _parsed(file: Path) -> Any:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise PairError(f"{file} cannot be read: {error}") from error


def _replace(file: Path, document: Any) -> None:
    """Put `document` in the file's place at once, after it was read back."""
    import tomlkit

    new = file.with_name(f".{file.name}.new")
    new.write_text(tomlkit.dumps(document), encoding="utf-8")
    try:
        read_spec(new)
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def _table(document: Any, name: str) -> Any:
    import tomlkit

    if name not in document:
        document[name] = tomlkit.table()
    return document[name]
