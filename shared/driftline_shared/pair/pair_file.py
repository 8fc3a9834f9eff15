"""Writes what was fitted into a pair's TOML file; comments and all other keys stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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

    with _edited(file) as document:
        if digest is not None:
            _table(document, "token_space")["digest"] = digest
        if grid is not None:
            inline = tomlkit.inline_table()
            inline.update({"frames": grid.frames, "rows": grid.rows, "cols": grid.cols})
            _table(document, "token_space")["grid"] = inline
        if translator is not None:
            _table(document, "translator").update(translator.model_dump(exclude_none=True))


def write_name(file: Path, name: str) -> None:
    """Set the pair's name. Raises PairError for a name that no pair can have."""
    with _edited(file) as document:
        document["name"] = name


def write_query_targets(file: Path, targets: Sequence[str]) -> None:
    """Set `[adapter]` query_targets. Raises PairError if the file cannot be read."""
    with _edited(file) as document:
        _table(document, "adapter")["query_targets"] = list(targets)


@contextmanager
def _edited(file: Path) -> Iterator[Any]:
    """The file's document; as changed it takes the file's place at once, after it was read back."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise PairError(f"{file} cannot be read: {error}") from error
    yield document
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
