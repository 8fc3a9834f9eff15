"""The root is rolled over: a new one beside the old, until everybody has both, then alone.

    <state>/trust/root-next.pem    the new root, and the issuing key's certificate by it
    <state>/trust/root-next.json   since when a cloud serves with both

While that file is there everybody who is certified is told to trust both roots and gets a chain
below the new one; the server shows its chain below the old one, which everybody knows yet. It is
the same issuing key in both chains, so whoever may come in stays who they are.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from driftline_cloud.trust.authority import (
    FOLDER,
    ISSUING,
    ISSUING_DAYS,
    NEXT_ROOT,
    ROOT_DAYS,
    Authority,
    make_certificate,
    read_authority,
)
from driftline_cloud.trust.issuer import Role
from driftline_cloud.trust.members import Member, State
from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import error_text, read_json, write_atomic, write_json
from driftline_shared.trust.certificates import fingerprint, to_pem
from driftline_shared.trust.keys import new_key, write_key

SINCE = "root-next.json"


def begin(state: Path, key_file: Path) -> Authority:
    """Make a root, its key in `key_file`, beside the one there is; the authority that there is
    then. The old root's key is not needed: it may be lost. ConfigError.
    """
    now = read_authority(state)
    if now.next_root is not None:
        raise ConfigError(
            "the root is being rolled over already",
            fix="`driftline cloud renew-root` says who has yet to come, `--finish` ends it.",
        )
    if key_file.exists():
        raise ConfigError(f"{key_file} is there already", fix="Name a new file with --out.")
    if key_file.resolve().is_relative_to(state.resolve()):
        raise ConfigError(
            f"{key_file} lies in the cloud's folder, and so is copied with the cloud",
            fix="Name a file elsewhere with --out, and take it offline.",
        )
    key = new_key()
    label = _label(now.root).partition(" #")[0]
    root = make_certificate(
        f"{label} #{x509.random_serial_number() % 10**6}", key, None, key,
        days=ROOT_DAYS, path_length=1,
    )  # fmt: skip
    issuing = make_certificate(
        _label(now.issuing), now.key, root, key, days=ISSUING_DAYS, path_length=0
    )
    try:
        write_key(key_file, key)  # first: a root without its key could never be renewed
        write_atomic(state / FOLDER / NEXT_ROOT, to_pem([root, issuing]))
    except OSError as error:
        raise ConfigError(
            f"{key_file} or {state / FOLDER} cannot be written: {error_text(error)}",
            fix="Make room, and begin again with another --out.",
        ) from error
    return read_authority(state)


def finish(state: Path) -> Authority:
    """Trust the old root no more; the authority that there is then. ConfigError."""
    now = read_authority(state)
    if now.next_root is None or now.next_issuing is None:
        raise ConfigError("no root is being rolled over", fix="`--out FILE` begins it.")
    folder = state / FOLDER
    try:
        # The issuing certificate decides: a kill after it leaves the rest to whoever reads next.
        write_atomic(folder / f"{ISSUING}.pem", to_pem([now.next_issuing]))
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written: {error_text(error)}", fix="Make room, and do it again."
        ) from error
    return read_authority(state)


def note_served(state: Path, authority: Authority, *, now_unix_s: float) -> None:
    """Keep since when a cloud serves that tells both roots: who came before knows one. OSError."""
    path = state / FOLDER / SINCE
    if authority.next_root is None:
        path.unlink(missing_ok=True)
    elif served_since(state) == float("inf"):
        write_json(path, {"root": fingerprint(authority.next_root), "unix_s": int(now_unix_s)})


def served_since(state: Path) -> float:
    """See `note_served`; infinity: none was started since the new root was made."""
    found, now = read_json(state / FOLDER / SINCE), read_authority(state)
    is_of_it = (
        found is not None
        and now.next_root is not None
        and found.get("root") == fingerprint(now.next_root)
    )
    return float(found["unix_s"]) if is_of_it and found is not None else float("inf")


def yet_to_come(
    members: list[Member], *, since_unix_s: float, days: float, now_unix_s: float
) -> list[Member]:
    """Devices with a certificate that holds and that was made before both roots were told
    (`served_since`): they know the old one alone. `days`: how long certificates hold.
    """
    return [
        one
        for one in members
        if one.role is Role.DEVICE
        and one.state is State.ACCEPTED
        and now_unix_s < one.not_after_unix_s <= since_unix_s + days * 86_400
    ]


def _label(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
