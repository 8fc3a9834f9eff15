"""A folder that appears whole or not at all."""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import sync_folder
from driftline_shared.trace.manifest import EVENTS, FILE

HEX_DIGIT = "[0-9a-f]"


def new_folder(folder: Path) -> None:
    """ConfigError if `folder` holds anything or lies in a trace: nothing is written over."""
    for parent in folder.absolute().parents:
        if (parent / FILE).is_file() and (parent / EVENTS).is_dir():
            raise ConfigError(f"{folder} lies in the trace {parent}: give a folder outside of it")
    try:
        taken = folder.exists() and any(folder.iterdir())
    except NotADirectoryError:
        taken = True
    if taken:
        raise ConfigError(f"{folder} is there already: give a new or an empty folder")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A draft to write into, which becomes the new `folder` at the end of a block that ends well.

    Of one that does not, nothing is left; killed, it leaves a draft, `.NAME.….draft` beside it,
    which the next one of that name removes. Raises ConfigError as `new_folder`, OSError where the
    disk does not take it.
    """
    new_folder(folder)
    folder = folder.absolute()
    _remove_abandoned(folder)
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.draft")
    draft.mkdir(parents=True)
    held = os.open(draft, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield draft
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    finally:
        os.close(held)
    sync_folder(folder.parent)


def _remove_abandoned(folder: Path) -> None:
    """Drafts of `folder` that nobody writes any more: the kernel lets go of their locks."""
    for draft in folder.parent.glob(f".{glob.escape(folder.name)}.{HEX_DIGIT * 8}.draft"):
        held = os.open(draft, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(draft, ignore_errors=True)
        finally:
            os.close(held)
