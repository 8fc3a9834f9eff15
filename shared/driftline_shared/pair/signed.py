"""Pairs under a signature: everything in their folder but what a machine notes there for itself.

What lies outside of the folder is not signed with it. A checkpoint at a path that leads out is
refused; one on the hub is named by its commit, and one that is assembled comes from packages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from driftline_shared.callbacks import ignore
from driftline_shared.errors import PairError
from driftline_shared.host.durable import error_text
from driftline_shared.pair.export_file import is_export
from driftline_shared.pair.pair import Draft, Pair, find_pair, load_draft, load_pair
from driftline_shared.signing.folders.keys import SigningKey, Trusted, trusted
from driftline_shared.signing.folders.listing import untrusted
from driftline_shared.signing.folders.signature import Signed, sign_folder, verify_folder

PREPARED = "prepared.json"
"""What `driftline device prepare` found fastest on one machine: written beside an export there."""

_LEFT_OUT = (PREPARED,)
_log = structlog.get_logger(__name__)

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedPair:
    """`key`: id of whose signature holds. `outside`: what belongs to the pair and is not signed."""

    name: str
    folder: str
    key: str
    num_files: int
    num_bytes: int
    outside: tuple[str, ...]


def sign_pair(
    name_or_path: str, key: SigningKey, report: Callable[[str], None] = ignore
) -> SignedPair:
    """Sign the pair, in place of an earlier signature.

    PairError for links in its folder and for weights at a path outside of it.
    """
    draft = load_draft(name_or_path)
    outside = _outside(draft)
    with _readable(draft.dir):
        signed = sign_folder(draft.dir, draft.spec.name, key, _LEFT_OUT, report)
    return _told(draft, signed, outside)


def verify_pair(
    name_or_path: str, key: Trusted, report: Callable[[str], None] = ignore
) -> SignedPair:
    """Whether the pair is what `key` signed; nothing of it is read before. PairError, reason
    `pair_untrusted`, that names what is not.
    """
    folder = find_pair(name_or_path).parent
    with _readable(folder):
        signed = verify_folder(folder, key, _LEFT_OUT, report)
    draft = load_draft(folder)
    return _told(draft, signed, _outside(draft))


def check_signed(name_or_path: str, pair_key: str) -> SignedPair | None:
    """`verify_pair` where the setting `pair_key` asks for it: a key's id, or a file with it.

    PairError; ConfigError where there is no such key.
    """
    if not pair_key:
        return None
    signed = verify_pair(name_or_path, trusted(pair_key))
    _log.info("pair.verified", pair=signed.name, key=signed.key, outside=list(signed.outside))
    return signed


def load_trusted(name_or_path: str, pair_key: str) -> Pair:
    """`load_pair`, once `check_signed` has nothing against it."""
    check_signed(name_or_path, pair_key)
    return load_pair(name_or_path)


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PairError(f"{folder}: {error_text(error)}") from error


def _outside(draft: Draft) -> tuple[str, ...]:
    if is_export(draft.dir):
        return ()
    found = []
    for side, spec in (("teacher", draft.spec.teacher), ("student", draft.spec.student)):
        for key, path in (("path", spec.path), ("trained", spec.trained)):
            if path is not None and not _is_within(draft.dir, path):
                raise untrusted(
                    f"{draft.file}: {side}.{key} leads out of the folder, to weights that would "
                    "not be signed",
                    fix="Copy them into the pair's folder, and name them there.",
                )
        if spec.id is not None:
            if not _COMMIT.fullmatch(spec.revision):
                raise untrusted(
                    f"{draft.file}: {side}.revision {spec.revision!r} can be moved",
                    fix="Name the commit, 40 hex digits.",
                )
            found.append(f"{side}: {spec.id} at {spec.revision} on the hub")
        elif spec.trained is not None:
            found.append(f"{side}: the packages that its checkpoint is assembled from")
    return tuple(found)


def _is_within(folder: Path, path: str) -> bool:
    return (folder / path).resolve().is_relative_to(folder.resolve())


def _told(draft: Draft, signed: Signed, outside: tuple[str, ...]) -> SignedPair:
    return SignedPair(
        name=draft.spec.name,
        folder=str(draft.dir),
        key=signed.id,
        num_files=len(signed.files),
        num_bytes=sum(one.size or 0 for one in signed.files.values()),
        outside=outside,
    )
