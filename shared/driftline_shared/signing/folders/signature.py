"""The signature of a folder, a file in it: what it says, and who says it.

`model.sig` is a Sigstore bundle (v0.3) of a DSSE envelope of an in-toto statement (v1), whose
predicate is that of OpenSSF Model Signing 1.0: all files by path and sha256, and a root digest over
these digests in order of the paths. The size of each file is our own, which other readers pass
over. So is the public key: a reader is told whom to trust elsewhere, and finds the key by its id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import Signature, SSlibKey

from driftline_shared.callbacks import ignore
from driftline_shared.errors import PairError
from driftline_shared.host.durable import read_bytes, write_atomic
from driftline_shared.signing.folders.keys import (
    PublicKey,
    SigningKey,
    Trusted,
    key_id,
    public_der,
    public_key,
)
from driftline_shared.signing.folders.listing import (
    MAX_FILES,
    Listed,
    Listing,
    compare,
    is_path,
    list_folder,
    untrusted,
)

FILE = "model.sig"
MAX_SIGNATURE_BYTES = 4 << 20
_MAX_SIGNATURES = 16

_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_SIGN = "Sign it with `driftline models sign PAIR --key FILE`, where the pair was made."


@dataclass(frozen=True, kw_only=True, slots=True)
class Signed:
    """A signature that holds: by the key `id`, of a folder called `name`, over `files`."""

    id: str
    name: str
    files: Listing


class _Part(BaseModel):
    """Unknown keys are passed over, as the form asks of its readers."""

    model_config = ConfigDict(extra="ignore", strict=True)


class _Key(_Part):
    hint: str = ""
    rawBytes: Annotated[str, Field(max_length=4_096)] = ""  # noqa: N815 - as the form has it


class _Material(_Part):
    publicKey: _Key  # noqa: N815


class _Signature(_Part):
    sig: Annotated[str, Field(max_length=4_096)]


class _Envelope(_Part):
    payload: str
    payloadType: Literal["application/vnd.in-toto+json"]  # noqa: N815
    signatures: Annotated[list[_Signature], Field(min_length=1, max_length=_MAX_SIGNATURES)]


class _Bundle(_Part):
    mediaType: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]  # noqa: N815
    verificationMaterial: _Material  # noqa: N815
    dsseEnvelope: _Envelope  # noqa: N815


class _Digest(_Part):
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Subject(_Part):
    name: Annotated[str, Field(max_length=512)]
    digest: _Digest


class _Resource(_Part):
    name: str
    algorithm: Literal["sha256"]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)] | None = None


class _Serialization(_Part):
    method: Literal["files"]
    hash_type: Literal["sha256"]


class _Predicate(_Part):
    serialization: _Serialization
    resources: Annotated[list[_Resource], Field(min_length=1, max_length=MAX_FILES)]


class _Statement(_Part):
    type: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[list[_Subject], Field(min_length=1, max_length=1)]
    predicateType: Literal["https://model_signing/signature/v1.0"]  # noqa: N815
    predicate: _Predicate


def sign_folder(
    folder: Path,
    name: str,
    key: SigningKey,
    left_out: Iterable[str],
    report: Callable[[str], None] = ignore,
) -> Signed:
    """Sign every file of `folder` but `left_out`, as `name`; in place of an earlier signature.

    PairError for links, and for more than a signature holds; OSError.
    """
    left_out = _not_signed(left_out)
    files = list_folder(folder, left_out, report)
    data = signature_of(name, files, key, left_out)
    if len(data) > MAX_SIGNATURE_BYTES:
        raise untrusted(f"the signature of {folder} would have {len(data):,} bytes")
    write_atomic(folder / FILE, data)
    return Signed(id=key.id, name=name, files=files)


def verify_folder(
    folder: Path, key: Trusted, left_out: Iterable[str], report: Callable[[str], None] = ignore
) -> Signed:
    """Whether every file of `folder` but `left_out` is what `key` signed, and none beside them.

    PairError, reason `pair_untrusted`, that names what is not; OSError.
    """
    try:
        data = read_bytes(folder / FILE, MAX_SIGNATURE_BYTES)
    except (OSError, ValueError) as error:
        raise untrusted(f"{folder / FILE} cannot be read: {error}") from error
    if data is None:
        raise untrusted(f"{folder} is not signed: there is no {FILE} in it", fix=_SIGN)
    try:
        signed = read_signature(data, key)
    except PairError as error:
        raise untrusted(f"{folder / FILE}: {error}", fix=error.fix) from error
    return replace(signed, files=compare(folder, signed.files, _not_signed(left_out), report))


def signature_of(name: str, files: Listing, key: SigningKey, left_out: Iterable[str] = ()) -> bytes:
    """The bytes of a signature over `files`."""
    resources: list[dict[str, Any]] = [
        {"name": path, "algorithm": "sha256", "digest": one.sha256, "size": one.size}
        for path, one in sorted(files.items())
    ]
    statement = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": _root(files)}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": sorted(left_out),
            },
            "resources": resources,
        },
    }
    return sealed(json.dumps(statement, sort_keys=True).encode(), key)


def sealed(statement: bytes, key: SigningKey) -> bytes:
    """The bytes of a signature by `key` whose statement is `statement`, whatever that is."""
    envelope = Envelope(statement, _PAYLOAD, {})
    envelope.sign(key.signer)
    bundle = {
        "mediaType": _BUNDLE,
        "verificationMaterial": {
            "publicKey": {"hint": key.id, "rawBytes": _text(public_der(key.public))},
            "tlogEntries": [],
        },
        "dsseEnvelope": envelope.to_dict(),
    }
    return json.dumps(bundle, indent=1).encode() + b"\n"


def read_signature(data: bytes, key: Trusted) -> Signed:
    """What `key` signed, according to the bytes of a signature; PairError. Nothing of the statement
    is read before its signature holds.
    """
    try:
        bundle = _Bundle.model_validate_json(data)
        payload = _bytes(bundle.dsseEnvelope.payload)
        given = _key(bundle.verificationMaterial.publicKey, key)
        _check(Envelope(payload, _PAYLOAD, {}).pae(), bundle.dsseEnvelope.signatures, given)
        statement = _Statement.model_validate_json(payload)
        return _signed(statement, key.id)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise untrusted(
            f"it is no signature of ours: {place}: {first['msg']}", fix=_SIGN
        ) from error
    except ValueError as error:  # among them binascii's
        raise untrusted(f"it is no signature of ours: {error}", fix=_SIGN) from error


def _signed(statement: _Statement, by: str) -> Signed:
    resources = statement.predicate.resources
    files = {one.name: Listed(sha256=one.digest, size=one.size) for one in resources}
    odd = next((name for name in files if not is_path(name)), None)
    if odd is not None or len(files) != len(resources):
        raise ValueError(f"it names a file twice, or one that is none: {odd!r}")
    [subject] = statement.subject
    # In the order written, as others do, which may sort paths by their parts.
    found = hashlib.sha256(b"".join(bytes.fromhex(one.digest) for one in resources)).hexdigest()
    if found != subject.digest.sha256:
        raise ValueError("its files do not come to its root digest")
    return Signed(id=by, name=subject.name, files=files)


def _key(given: _Key, trusted: Trusted) -> PublicKey:
    """The key that is trusted, from the one who trusts it or by its id from the signature."""
    if trusted.key is not None:
        return trusted.key
    if not given.rawBytes:
        raise untrusted(
            "it does not bring its key, of which the id alone is known",
            fix="Name the file that holds the public key.",
        )
    key = public_key(_bytes(given.rawBytes))
    if key_id(key) != trusted.id:
        raise untrusted(
            f"it was signed by the key {key_id(key)}, and trusted is {trusted.id}",
            fix="Take the pair from whom you trust; or trust this key, if its owner told you so.",
        )
    return key


def _check(signed: bytes, signatures: Iterable[_Signature], key: PublicKey) -> None:
    known = SSlibKey.from_crypto(key, keyid=key_id(key))
    for one in signatures:
        try:
            known.verify_signature(Signature(known.keyid, _bytes(one.sig).hex()), signed)
        except (UnverifiedSignatureError, VerificationError):
            continue
        return
    raise untrusted(
        f"the key {known.keyid} did not sign it, or it was changed since",
        fix="Take the pair from whom you trust, or have it signed again.",
    )


def _root(files: Listing) -> str:
    return hashlib.sha256(
        b"".join(bytes.fromhex(one.sha256) for _, one in sorted(files.items()))
    ).hexdigest()


def _not_signed(names: Iterable[str]) -> frozenset[str]:
    """With the signature itself, and what a kill leaves of writing any of them."""
    names = {FILE, *names}
    return frozenset(names | {f".{name}.new" for name in names})


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"its base64 is broken: {error}") from error
