"""What is signed: metadata of updates, the root in a pair, the signature of a pair.

Most broken documents end at their signature. So of some formats a thief writes them, who has the
keys: what is broken is signed again, and read to the end.
"""

from __future__ import annotations

import base64
import json
import shutil
import time
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from driftline_device.signatures.trusted import TrustedUpdates
from driftline_lab.bench.fuzz.formats.material import good_manifests
from driftline_lab.bench.fuzz.formats.on_disk import scratch
from driftline_lab.bench.fuzz.formats.target import Target
from driftline_lab.peers import readers
from driftline_shared.codec.entropy import shrink
from driftline_shared.errors import DriftlineError
from driftline_shared.pair.update_root import check_root
from driftline_shared.signing.bundle import SignedBundle
from driftline_shared.signing.folders.keys import SigningKey, Trusted
from driftline_shared.signing.folders.listing import Listed
from driftline_shared.signing.folders.signature import read_signature, sealed, signature_of
from driftline_shared.signing.versions import custom_of, role_of, target_of
from driftline_shared.wire import unpack_signed

_LINE = "fuzz"
_ENDS = datetime(2099, 1, 1, tzinfo=UTC)
_ROLES = ("root", "targets", "snapshot", "timestamp", "line")

_FOLDERS = ("driftline_shared.signing.folders",)
_DEVICE = ("driftline_device.signatures", "driftline_shared.signing", "driftline_shared.wire")


def signatures() -> dict[str, Target]:
    """By name."""
    good, key = _good(), _pair_key()
    files = {"pair.toml": Listed(sha256="1" * 64, size=3), "probe/é.png": Listed(sha256="2" * 64)}
    signed = signature_of("fuzz", files, key, ["prepared.json"])
    return {
        "signed-bundle": Target(
            corpus=(readers.bundle_bytes(_bundle(good)),),
            read=lambda data: _as_device(unpack_signed(shrink(data), len(data))),
            refusals=(DriftlineError,),
            modules=_DEVICE,
        ),
        "signed-role": Target(
            corpus=tuple(_signed_part(role, good[role]) for role in _ROLES),
            read=_as_thief,
            refusals=(DriftlineError, _NotSignedError),
            modules=_DEVICE,
        ),
        "update-root": Target(
            corpus=(good["root"],),
            read=_read_root,
            refusals=(ValueError,),
            modules=("driftline_shared.pair.update_root",),
        ),
        "pair-signature": Target(
            corpus=(signed,),
            read=lambda data: read_signature(data, Trusted(id=key.id)),
            refusals=(DriftlineError,),
            modules=_FOLDERS,
        ),
        "pair-statement": Target(
            corpus=(_statement(signed),),
            read=lambda data: read_signature(sealed(data, key), Trusted(id=key.id)),
            refusals=(DriftlineError,),
            modules=_FOLDERS,
        ),
    }


class _NotSignedError(Exception):
    """What no thief could sign."""


def _as_device(bundle: SignedBundle) -> None:
    """All that a new device does with an answer of its cloud."""
    state = scratch() / "state"
    shutil.rmtree(state, ignore_errors=True)
    device = TrustedUpdates(state, _good()["root"], base_model="1" * 64, now_s=time.time)
    device.take(bundle)
    device.check(good_manifests()[0][0])


def _as_thief(data: bytes) -> None:
    """`data` as the signed part of a role, by its keys, beside the good ones of the others."""
    try:
        signed = json.loads(data)
        kind = signed["_type"]
        role = "line" if kind == "targets" and "delegations" not in signed else kind
        text = str(encode_canonical(signed)).encode()
        signers = _signers(role)
    except Exception as error:
        raise _NotSignedError from error
    signatures = [signer.sign(text).to_dict() for signer in signers]
    file = json.dumps({"signatures": signatures, "signed": signed}).encode()
    _as_device(_bundle({**_good(), role: file}, with_root=role == "root"))


def _signed_part(role: str, file: bytes) -> bytes:
    """What is signed of a role's file; of the root, one that may come next."""
    signed = json.loads(file)["signed"]
    return json.dumps({**signed, "version": 2} if role == "root" else signed).encode()


def _read_root(data: bytes) -> None:
    check_root(data)


def _statement(signed: bytes) -> bytes:
    return base64.b64decode(json.loads(signed)["dsseEnvelope"]["payload"])


def _bundle(files: dict[str, bytes], *, with_root: bool = False) -> SignedBundle:
    return SignedBundle(
        line=_LINE,
        roots=(files["root"],) if with_root else (),
        timestamp=files["timestamp"],
        snapshot=files["snapshot"],
        targets=files["targets"],
        line_targets=files["line"],
    )


# -- good ones, by keys that are always the same ---------------------------------------------------


def _secret(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


@cache
def _pair_key() -> SigningKey:
    return SigningKey(_secret(99))


@cache
def _signers(role: str) -> tuple[CryptoSigner, ...]:
    """The root's three, one of each other; KeyError for what is no role."""
    first = {"root": 1, "targets": 4, "snapshot": 5, "timestamp": 6, "line": 7}[role]
    return tuple(CryptoSigner(_secret(first + n)) for n in range(3 if role == "root" else 1))


@cache
def _good() -> dict[str, bytes]:
    """A file of each role, by name."""
    root = Root(consistent_snapshot=False, expires=_ENDS)
    for role in ("root", "targets", "snapshot", "timestamp"):
        for signer in _signers(role):
            root.add_key(signer.public_key, role)
    root.roles["root"].threshold = 2
    manifest = good_manifests()[0][0]
    path, role = target_of(_LINE, manifest.target_version), role_of(_LINE)
    target = TargetFile(
        length=9,
        hashes={"sha256": manifest.target_digest.hex()},
        path=path,
        unrecognized_fields={"custom": custom_of(manifest)},
    )
    delegated = DelegatedRole(
        name=role, keyids=[], threshold=1, terminating=True, paths=[f"{_LINE}/*"]
    )
    targets = Targets(expires=_ENDS, delegations=Delegations(keys={}, roles={role: delegated}))
    targets.add_key(_signers("line")[0].public_key, role)
    meta = {"targets.json": MetaFile(), f"{role}.json": MetaFile()}
    made: dict[str, Any] = {
        "root": root,
        "targets": targets,
        "line": Targets(expires=_ENDS, targets={path: target}),
        "snapshot": Snapshot(expires=_ENDS, meta=meta),
        "timestamp": Timestamp(expires=_ENDS, snapshot_meta=MetaFile()),
    }
    found = {}
    for name, signed in made.items():
        metadata = Metadata(signed)
        for signer in _signers(name):
            metadata.sign(signer, append=True)
        found[name] = metadata.to_bytes(JSONSerializer(compact=True))
    return found
