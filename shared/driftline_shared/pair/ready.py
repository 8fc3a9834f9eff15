"""Ready-made pair files for well-known checkpoints: copied to a folder, completed there."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from driftline_shared.errors import ConfigError, PairError
from driftline_shared.pair.pair_file import write_name
from driftline_shared.pair.spec import PairSpec, read_spec


def ready_pairs() -> dict[str, PairSpec]:
    """Name -> what the file of that name says."""
    return {path.stem: read_spec(path) for path in sorted(_root().glob("*.toml"))}


def new_pair(name: str, ready: str, folder: Path) -> Path:
    """Copy the ready-made file `ready` to `folder`/pair.toml under `name`; gives the new file.

    Raises ConfigError for a ready-made file that does not exist or one that cannot be made,
    PairError where a pair is already and for a name that no pair can have.
    """
    source = _root() / f"{ready}.toml"
    if ready not in ready_pairs():
        raise ConfigError(f"no ready-made file {ready!r}; there are {', '.join(ready_pairs())}")
    target = folder / "pair.toml"
    if target.exists():
        raise PairError(
            f"{target} exists already", fix="Name another folder, or edit the file that is there."
        )
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{target} cannot be made: {error.strerror}") from error
    try:
        write_name(target, name)
    except PairError:
        target.unlink()
        if is_new:
            folder.rmdir()
        raise
    return target


def _root() -> Path:
    return Path(str(resources.files("driftline_shared.pair").joinpath("ready_made")))
