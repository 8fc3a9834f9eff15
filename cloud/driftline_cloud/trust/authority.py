"""The cloud's own authority: a root that goes offline, and an issuing one that works beside it.

    <state>/trust/root.key      signs the issuing one, then goes offline
    <state>/trust/root.pem      whom every device and operator trusts
    <state>/trust/issuing.key   signs the certificates of devices, operators and the server
    <state>/trust/issuing.pem   its certificate, and those of earlier ones that still count
    <state>/trust/operator/     the credentials of whoever runs commands on this machine

Whoever has the issuing key lets devices in; whoever has the root's makes a new issuing one after
that was lost. Devices trust the root alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import read_bytes, sync_folder, write_atomic
from driftline_shared.trust.certificates import (
    BACKDATED,
    MAX_CHAIN_BYTES,
    fingerprint,
    is_issued_by,
    read_chain,
    to_pem,
    trouble_with,
)
from driftline_shared.trust.keys import FileKey, named, new_key, own_key, read_key, write_key

FOLDER = "trust"
ROOT, ISSUING, OPERATOR = "root", "issuing", "operator"
NEXT_ROOT = "root-next.pem"
ROOT_DAYS, ISSUING_DAYS = 3650, 730
MOST_BEFORE = 4
"""Earlier issuing keys whose leaves still hold."""

_FIX = "Bring the files of the folder back from where they are kept."


@dataclass(frozen=True, kw_only=True, slots=True)
class Authority:
    """`root` and `issuing`: certificates; `key`: of the issuing one. `before`: certificates of
    issuing keys that sign no more, and whose leaves still hold. `next_root`, and `next_issuing` by
    it of the same key: while the root is rolled over (`rollover`).
    """

    root: x509.Certificate
    issuing: x509.Certificate
    key: FileKey
    before: tuple[x509.Certificate, ...] = ()
    next_root: x509.Certificate | None = None
    next_issuing: x509.Certificate | None = None

    @property
    def fingerprint(self) -> str:
        """Of the root: what an invitation carries."""
        return fingerprint(self.root)

    @property
    def roots_pem(self) -> bytes:
        """Whom others trust."""
        return to_pem([self.root] if self.next_root is None else [self.root, self.next_root])


def make_authority(state: Path, *, name: str) -> Authority:
    """Make root and issuing authority in `state`; ConfigError if there is one, or no room."""
    folder = state / FOLDER
    if (folder / f"{ROOT}.pem").exists():
        raise ConfigError(
            f"{folder} has an authority already",
            fix="Go on with it: devices that trust it would not trust another. To begin anew, and "
            "enrol every device again, move the folder away.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Those that a kill left before there was an authority are as good as new ones.
        root_key, issuing_key = own_key(folder / f"{ROOT}.key"), own_key(folder / f"{ISSUING}.key")
        label = f"{name} root"
        root = make_certificate(label, root_key, None, root_key, days=ROOT_DAYS, path_length=1)
        issuing = make_certificate(
            f"{name} issuing", issuing_key, root, root_key, days=ISSUING_DAYS, path_length=0
        )
        write_atomic(folder / f"{ISSUING}.pem", to_pem([issuing]))
        write_atomic(folder / f"{ROOT}.pem", to_pem([root]))  # last: it makes the authority whole
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written: {error.strerror or error}",
            fix="Make room, or choose another --state, and begin again.",
        ) from error
    return read_authority(state)


def has_authority(state: Path) -> bool:
    """Whether `driftline cloud init` was done there."""
    return (state / FOLDER / f"{ROOT}.pem").is_file()


def read_authority(state: Path) -> Authority:
    """The authority in `state`; ConfigError where it is not whole."""
    folder = state / FOLDER
    try:
        (root,) = _read(folder / f"{ROOT}.pem")[:1]
        issuing, *before = _read(folder / f"{ISSUING}.pem")
        key = _issuing_key(folder, issuing)
        next_root, next_issuing = _next(folder)
        if next_root is not None and issuing == next_issuing:  # the old root has ended
            root, next_root, next_issuing = next_root, None, None
            write_atomic(folder / f"{ROOT}.pem", to_pem([root]))
            (folder / NEXT_ROOT).unlink(missing_ok=True)
            sync_folder(folder)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the authority in {folder} is not whole: {error}", fix=_FIX) from error
    if not is_issued_by(issuing, root):
        raise ConfigError(f"the issuing certificate in {folder} is not of its root", fix=_FIX)
    if key.key.public_key() != issuing.public_key():
        raise ConfigError(f"the issuing key in {folder} is not of its certificate", fix=_FIX)
    return Authority(
        root=root,
        issuing=issuing,
        key=key,
        before=tuple(before),
        next_root=next_root,
        next_issuing=next_issuing,
    )


def renew_issuing(state: Path, root_key: Path, *, distrust: bool) -> Authority:
    """Make another issuing key, which the root's signs; the authority that there is then.

    Leaves of the one before hold until they end, unless `distrust`: where it was stolen nobody's
    holds any more, and every device enrols anew by itself, as its key is known. ConfigError for a
    root key that is not this authority's, or no room.
    """
    folder, now = state / FOLDER, read_authority(state)
    if now.next_root is not None:
        raise ConfigError(
            "the root is being rolled over, and both roots vouch for the issuing key",
            fix="End that first: `driftline cloud renew-root --finish`; then use the new root's "
            "key.",
        )
    try:
        key = read_key(root_key)
    except (OSError, ValueError, ConfigError) as error:
        raise ConfigError(
            f"the root's key {root_key} cannot be read: {error}",
            fix="Bring `root.key` from where it is kept, for this alone; remove nothing.",
        ) from error
    if key.key.public_key() != now.root.public_key():
        raise ConfigError(f"{root_key} is not the key of this cloud's root", fix=_FIX)
    issuing_key = new_key()
    label = str(now.issuing.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    issuing = make_certificate(label, issuing_key, now.root, key, days=ISSUING_DAYS, path_length=0)
    still = [] if distrust else [one for one in (now.issuing, *now.before) if not trouble_with(one)]
    draft = folder / f"{ISSUING}.next"
    try:
        # The certificate decides: a kill before it leaves all as it was, and reading does the rest.
        draft.unlink(missing_ok=True)
        write_key(draft, issuing_key)
        write_atomic(folder / f"{ISSUING}.pem", to_pem([issuing, *still[:MOST_BEFORE]]))
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written: {error.strerror or error}",
            fix="Make room, and do it again.",
        ) from error
    return read_authority(state)


def root_is_here(state: Path) -> bool:
    """Whether the root's key still lies where it was made."""
    return (state / FOLDER / f"{ROOT}.key").exists()


def _issuing_key(folder: Path, issuing: x509.Certificate) -> FileKey:
    """The key of `issuing`; where a change was cut off before its last step, that is done now."""
    path, draft = folder / f"{ISSUING}.key", folder / f"{ISSUING}.next"
    if draft.exists() and read_key(draft).key.public_key() == issuing.public_key():
        draft.replace(path)
        sync_folder(folder)
    return read_key(path)


def _next(folder: Path) -> tuple[x509.Certificate | None, x509.Certificate | None]:
    """The root that is to come and the issuing certificate by it, where there is one."""
    if not (folder / NEXT_ROOT).exists():
        return None, None
    root, issuing = _read(folder / NEXT_ROOT)
    if not is_issued_by(issuing, root):
        raise ValueError(f"{NEXT_ROOT} holds no root with its issuing certificate")
    return root, issuing


def _read(path: Path) -> list[x509.Certificate]:
    data = read_bytes(path, MAX_CHAIN_BYTES)
    if data is None:
        raise FileNotFoundError(f"{path.name} is missing")
    return read_chain(data)


def make_certificate(
    label: str,
    key: FileKey,
    issuer: x509.Certificate | None,
    issuer_key: FileKey,
    *,
    days: int,
    path_length: int,
) -> x509.Certificate:
    """Of an authority, for `key`, by `issuer` and its key; None: by itself."""
    now = datetime.now(UTC)
    public: ec.EllipticCurvePublicKey = key.key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(label))
        .issuer_name(issuer.subject if issuer is not None else named(label))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    return builder.sign(issuer_key.key, hashes.SHA256())
