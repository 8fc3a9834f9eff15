"""Versions in a folder and in a far store, made equal: each gets what only the other has.

A folder that is new (its disk was lost) is filled; a store that is new (a cloud moved to one) as
well. The order is that of a publish: a manifest comes when all it names is there.
"""

from __future__ import annotations

from collections.abc import Iterable

from driftline_cloud.blobs.store import BlobStore
from driftline_cloud.release.manifests import manifest_from_json
from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import MAX_JSON_BYTES

_LINE = "line.json"


def bring_together(near: BlobStore, far: BlobStore) -> tuple[int, int]:
    """(blobs fetched, blobs sent). Raises ConfigError where the two tell of different versions,
    StoreAwayError where `far` is away: what was copied until then is kept.
    """
    here, there = _kept(near), set(far.list())
    _check_same(near, far, here & there)
    manifests = {key: _read(near if key in here else far, key) for key in here | there if _is(key)}
    named = {_blob(manifest_from_json(one).blob_digest) for one in manifests.values()}
    here |= {key for key in named if near.size(key) is not None}
    fetched = [key for key in _in_order(there - here) if _is_of_lines(key) or key in named]
    for key in fetched:
        _copy(key, far, near)
    sent = _in_order(here - there)
    for key in sent:
        _copy(key, near, far)
    return len(fetched), len(sent)


def missing_there(near: BlobStore, far: BlobStore) -> list[str]:
    """What of the versions in `near` is not in `far`: the next work begins with sending it."""
    kept = _kept(near)
    manifests = [manifest_from_json(_read(near, key)) for key in kept if _is(key)]
    return sorted((kept | {_blob(one.blob_digest) for one in manifests}) - set(far.list()))


def _kept(store: BlobStore) -> set[str]:
    """What describes versions: updates made on demand are made again."""
    return {key for key in store.list("lines") if "/direct/" not in key}


def _check_same(near: BlobStore, far: BlobStore, common: set[str]) -> None:
    """The newest manifest that both have stands for all before it."""
    newest: dict[str, tuple[int, str]] = {}
    for key in common:
        line = key.rpartition("/")[0]
        if _is(key):
            newest[line] = max(newest.get(line, (0, "")), (_version(key), key))
    for key in [f"{line}/{_LINE}" for line in newest] + [key for _, key in newest.values()]:
        if key in common and _read(near, key) != _read(far, key):
            raise ConfigError(
                f"{far.place} and {near.place} hold different versions: {key} is not the same",
                fix="Set storage.artifacts to a new prefix: what the folder holds is copied there.",
            )


def _in_order(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=lambda key: (_is(key), _version(key) if _is(key) else 0, key))


def _is(key: str) -> bool:
    """Whether it is a manifest from one version to the next."""
    folder, _, name = key.rpartition("/")
    return folder.count("/") == 1 and _stem(name).isdigit() and name.endswith(".json")


def _is_of_lines(key: str) -> bool:
    return key.startswith("lines/")


def _version(key: str) -> int:
    return int(_stem(key))


def _stem(key: str) -> str:
    return key.rpartition("/")[2].partition(".")[0]


def _blob(digest: bytes) -> str:
    return f"blobs/{digest.hex()}"


def _read(store: BlobStore, key: str) -> bytes:
    return store.get(key, MAX_JSON_BYTES) or b""


def _copy(key: str, source: BlobStore, target: BlobStore) -> None:
    content = source.get(key)
    if content is not None:
        target.put(key, content)
