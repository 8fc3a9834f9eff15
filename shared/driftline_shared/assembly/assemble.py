"""Assembled checkpoints in the user's cache: made once from packages and a pair's trained weights.

The folder's name is the digest of all that goes in, so a changed pair or another release of a
package never finds an old folder. A checkpoint is made beside its place and moved there whole: two
processes at once both do the work, one move wins, and both hold the same bytes.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
import structlog
from rich.console import Console

from driftline_shared.assembly.packages import LANGUAGE_MODEL, VISION_TOWER
from driftline_shared.errors import PairError

_log = structlog.get_logger(__name__)

_LAYOUT = "1"
"""Raised when what is written for the same inputs changes."""

_MAX_TRAINED_BYTES = 1 << 28


def assembled(trained_file: Path, *, cache: Path | None = None) -> Path:
    """The checkpoint folder for one side's trained weights, made now if it is not there (10 s).

    `cache`: None is this user's. Raises PairError where a package is missing or is another release,
    or the trained weights do not fit it.
    """
    place = checkpoint_place(trained_file, cache=cache)
    if not is_assembled(place):
        _make(trained_file, place)
    return place


def checkpoint_place(trained_file: Path, *, cache: Path | None = None) -> Path:
    """Where that checkpoint is or would be. Reads the trained weights only."""
    digest = hashlib.sha256(f"{_LAYOUT}\0{LANGUAGE_MODEL.sha256}\0{VISION_TOWER.sha256}\0".encode())
    try:
        if trained_file.stat().st_size > _MAX_TRAINED_BYTES:
            raise PairError(f"{trained_file} has more than {_MAX_TRAINED_BYTES} bytes")
        digest.update(trained_file.read_bytes())
    except OSError as error:
        raise PairError(f"{trained_file} cannot be read: {error}") from error
    root = cache or platformdirs.user_cache_path("driftline", appauthor=False) / "checkpoints"
    return root / f"{trained_file.stem}-{digest.hexdigest()[:16]}"


def is_assembled(place: Path) -> bool:
    """Whether the checkpoint is there; a folder in its place is always a whole one."""
    return (place / "config.json").is_file()


def _make(trained_file: Path, place: Path) -> None:
    from driftline_shared.assembly import checkpoint

    trained = checkpoint.read_trained(trained_file)
    place.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".part-", dir=place.parent))
    try:
        with _announced(place):
            checkpoint.write_checkpoint(scratch / "made", checkpoint.read_parts(), trained)
        try:
            (scratch / "made").rename(place)
        except OSError:
            # Another process was first; what it made is the same.
            if not is_assembled(place):
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _announced(place: Path) -> Iterator[None]:
    """Says what is waited for: in the log of a program that keeps one, else on the terminal."""
    if structlog.is_configured():
        _log.info("checkpoint.assembling", folder=str(place))
        yield
    else:
        # On stderr: a command's own output may be one JSON document.
        with Console(stderr=True).status(f"assembling {place.name} from packaged weights"):
            yield
