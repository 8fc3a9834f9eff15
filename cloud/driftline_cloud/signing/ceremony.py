"""What only the root's keys can do: begin, give the online roles new keys, replace a root key.

Every change is a new root, signed by 2 of 3 keys of the root before it and 2 of 3 of its own, so
that devices which hold any earlier one follow. It is signed before anything is written; new keys
are written before it, beside the old ones, and taken into force after it. So a kill leaves what was
before, or what the next start of the cloud, or the same command, brings to its end by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from driftline_cloud.signing.files import (
    ONLINE_ROLES,
    ROOT_DAYS,
    ROOT_KEYS,
    ROOT_THRESHOLD,
    SigningFiles,
    expiry,
    read_metadata,
    write_metadata,
)
from driftline_cloud.signing.keys import keep_signer, make_signer, new_signer, read_any
from driftline_cloud.signing.publish import Publisher
from driftline_cloud.signing.whole import take_up, trouble
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.host.durable import read_bytes, write_atomic
from driftline_shared.host.lock import take_turn
from driftline_shared.trust.keys import MAX_KEY_BYTES

_FIX = "Bring two of its three keys together in one folder, and name that with --root-keys."


def make_signing(state: Path, *, now_s: float, timestamp_days: float) -> SigningFiles:
    """Make the keys and the first root of a cloud, or bring to its end what a kill cut short of
    that; ConfigError where there are some, OSError.
    """
    files = SigningFiles(state)
    with take_turn(files.lock):
        if files.newest_root() and trouble(files):
            take_up(files)
            _publisher(files, now_s, timestamp_days).mend()
            return files
        if files.newest_root():
            raise ConfigError(
                f"{files.folder} has keys for updates already",
                fix="`driftline cloud keys rotate` replaces those that sign, `replace` a root key.",
            )
        root_signers = [make_signer(files.root_key(n)) for n in range(1, ROOT_KEYS + 1)]
        root = Root(consistent_snapshot=False, expires=expiry(now_s, days=ROOT_DAYS))
        for signer in root_signers:
            root.add_key(signer.public_key, Root.type)
        root.roles[Root.type].threshold = ROOT_THRESHOLD
        for role in ONLINE_ROLES:
            root.add_key(make_signer(files.key(role)).public_key, role)
        metadata = Metadata(root)
        for signer in root_signers:
            metadata.sign(signer, append=True)
        write_metadata(files.root(1), metadata)
        _publisher(files, now_s, timestamp_days).publish({}, anew=True)
    return files


def rotate(state: Path, root_keys: Path, *, now_s: float, timestamp_days: float) -> int:
    """New keys for everything that signs online, lines included; the number of the new root.

    After a key was stolen this is the way back: whatever it signed, however high its version, is
    forgotten by devices that have the new root. ConfigError, OSError.
    """
    files = _files(state)
    with take_turn(files.lock):
        take_up(files)  # a kill may have left the only keys of the newest root as drafts
        root, signers = _root_and_signers(files, root_keys)
        fresh = {role: new_signer() for role in ONLINE_ROLES}
        for role, signer in fresh.items():
            for keyid in list(root.roles[role].keyids):
                root.revoke_key(keyid, role)
            root.add_key(signer.public_key, role)
        metadata = _signed(files, root, signers, now_s)
        for role, signer in fresh.items():
            keep_signer(files.next_key(role), signer)
        write_metadata(files.root(root.version), metadata)
        take_up(files)
        _publisher(files, now_s, timestamp_days).publish({}, anew=True)
        number = root.version
    return number


def renew(state: Path, root_keys: Path, *, now_s: float) -> int:
    """The same root with a later end; its number. ConfigError, OSError."""
    files = _files(state)
    with take_turn(files.lock):
        take_up(files)
        root, signers = _root_and_signers(files, root_keys)
        metadata = _signed(files, root, signers, now_s)
        write_metadata(files.root(root.version), metadata)
        return root.version


def replace_root_key(
    state: Path, root_keys: Path, lost: str, out: Path, *, now_s: float
) -> tuple[int, str]:
    """(number of the new root, id of its new key): a new key, kept in the file `out`, in place of
    the root key whose id begins with `lost`. A key in `out` that a kill of this command left
    there is taken, and no other. ConfigError, OSError.
    """
    files = _files(state)
    with take_turn(files.lock):
        take_up(files)
        root, signers = _root_and_signers(files, root_keys)
        found = _of_root(root, lost)
        fresh = _left_in(out)
        if fresh is not None and _has_replaced(files, lost, fresh.public_key.keyid):
            return root.version, fresh.public_key.keyid  # a kill came after the root was there
        if fresh is not None and not _is_coming(files, fresh.public_key.keyid):
            raise _taken(out)
        if len(found) != 1:
            raise ConfigError(
                f"{len(found)} root keys have an id that begins with {lost!r}",
                fix="`driftline cloud keys show` lists their ids.",
            )
        is_new = fresh is None
        fresh = fresh or new_signer()
        root.revoke_key(found[0], Root.type)
        root.add_key(fresh.public_key, Root.type)
        metadata = _signed(files, root, [*signers, fresh], now_s)
        if is_new:
            write_atomic(files.coming, fresh.public_key.keyid.encode())
            keep_signer(out, fresh)
        write_metadata(files.root(root.version), metadata)
        files.coming.unlink(missing_ok=True)
    return root.version, fresh.public_key.keyid


def _of_root(root: Root, begin: str) -> list[str]:
    """Ids of root keys that begin so."""
    return [one for one in root.roles[Root.type].keyids if begin and one.startswith(begin)]


def _taken(out: Path) -> ConfigError:
    return ConfigError(f"{out} is there already", fix="Name a file that is new.")


def _left_in(out: Path) -> CryptoSigner | None:
    """The key in `out`; None: there is no such file. ConfigError for what is another file."""
    if not out.exists():
        return None
    try:
        signer = read_any(out)
    except ConfigError as error:
        raise _taken(out) from error
    if signer is None:
        raise _taken(out)
    return signer


def _roots(files: SigningFiles) -> list[Root]:
    return [read_metadata(files.root(n))[0].signed for n in range(1, files.newest_root() + 1)]


def _has_replaced(files: SigningFiles, lost: str, keyid: str) -> bool:
    """Whether the root that no longer had the key `lost` was the first with `keyid`, and it is
    still in force.
    """
    roots = _roots(files)
    for before, after in itertools.pairwise(roots):
        if _of_root(before, lost) and not _of_root(after, lost):
            came = set(after.roles[Root.type].keyids) - set(before.roles[Root.type].keyids)
            if keyid in came:
                return not _of_root(roots[-1], lost) and bool(_of_root(roots[-1], keyid))
    return False


def _is_coming(files: SigningFiles, keyid: str) -> bool:
    """Whether this command made the key, was killed, and no root has named it since."""
    try:
        noted = read_bytes(files.coming, MAX_KEY_BYTES)
    except (OSError, ValueError):
        return False
    return noted == keyid.encode() and not any(keyid in root.keys for root in _roots(files))


def newest_root(state: Path) -> tuple[int, bytes]:
    """(number, bytes) of the root in force; DataError where there is none, ConfigError."""
    files = _files(state)
    number = files.newest_root()
    return number, read_metadata(files.root(number))[1]


def signers_in(folder: Path) -> list[CryptoSigner]:
    """The keys in the files `*.key` of `folder`, those of other kinds left out; ConfigError."""
    paths = sorted(folder.glob("*.key")) if folder.is_dir() else []
    if not paths:
        raise ConfigError(f"{folder} holds no *.key", fix=_FIX)
    # The authority's root key is kept in the same place, and is none of these.
    return [signer for path in paths if (signer := read_any(path)) is not None]


def _files(state: Path) -> SigningFiles:
    """Of a cloud that has keys; DataError, and nothing made, where there are none."""
    files = SigningFiles(state)
    if not files.newest_root():
        raise DataError(
            f"the cloud in {state} has no keys for updates",
            fix="`driftline cloud init`; where there is an authority, `driftline cloud keys init`.",
        )
    return files


def _publisher(files: SigningFiles, now_s: float, timestamp_days: float) -> Publisher:
    return Publisher(files=files, now_s=now_s, timestamp_days=timestamp_days)


def _root_and_signers(files: SigningFiles, root_keys: Path) -> tuple[Root, list[CryptoSigner]]:
    number = files.newest_root()
    root: Root = read_metadata(files.root(number))[0].signed
    role = root.roles[Root.type]
    signers = [one for one in signers_in(root_keys) if one.public_key.keyid in role.keyids]
    if len({one.public_key.keyid for one in signers}) < role.threshold:
        raise ConfigError(
            f"{len(signers)} of the root's keys are in {root_keys}, it takes {role.threshold}",
            fix=_FIX,
        )
    return root, signers


def _signed(
    files: SigningFiles, root: Root, signers: Sequence[CryptoSigner], now_s: float
) -> Metadata[Root]:
    """`root` as the next one, signed, and checked as a device checks it; nothing is written."""
    before = read_metadata(files.root(files.newest_root()))[0].signed
    root.version = before.version + 1
    root.expires = expiry(now_s, days=ROOT_DAYS)
    metadata = Metadata(root)
    for signer in signers:
        metadata.sign(signer, append=True)
    result = root.get_root_verification_result(before, metadata.signed_bytes, metadata.signatures)
    if not result:
        raise ConfigError("too few root keys signed the new root", fix=_FIX)
    return metadata
