"""What a line's metadata says of a version, and whether a manifest is of such a version.

A version's TUF target is the adapter that a device holds in the end, in the canonical form that
`adapter_digest` reads: its length and sha256 are the target's. Custom fields:

    base      digest of the adapter before it, hex
    blob      sha256 of the step from it, hex; bytes: its length
    head      sha256 of the P(IK) head that goes with it, hex; absent: none
    for       `line_digest`: pair, base model and token space
    version   its number
    expires   unix seconds after which it is not installed any more; absent: never
    gate      what the gate measured, as text (canonical JSON has no fractions)

The step from the version before is bound byte by byte. A shortcut over several versions, or a whole
adapter, is made when a device asks for it; it is bound by what it gives.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from driftline_shared.errors import Reason, UpdateError
from driftline_shared.update import Manifest, UpdateKind

_MODEL_CHARS = 32
_NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


def role_of(line: str) -> str:
    """The delegated role of a line."""
    return f"line.{line}"


def target_of(line: str, version: int) -> str:
    """The path of a version among the targets."""
    return f"{line}/{version}"


def version_at(line: str, target: str) -> int:
    """The version that the path `target` names among those of `line`; 0: it names none."""
    number = target.removeprefix(f"{line}/")
    return int(number) if number != target and _NUMBER.fullmatch(number) else 0


def line_digest(manifest: Manifest) -> str:
    """Which devices a version is for, in 32 hex digits."""
    text = "\0".join((manifest.pair, manifest.base_model, manifest.token_space))
    return hashlib.sha256(text.encode()).hexdigest()[:_MODEL_CHARS]


def custom_of(manifest: Manifest) -> dict[str, Any]:
    """The custom fields of the version that `manifest`, a step, leads to."""
    found: dict[str, Any] = {
        "base": manifest.base_digest.hex(),
        "blob": manifest.blob_digest.hex(),
        "bytes": manifest.blob_bytes,
        "for": line_digest(manifest),
        "gate": {name: f"{value:.4g}" for name, value in sorted(manifest.gate.items())},
        "version": manifest.target_version,
    }
    if manifest.ik_head:
        found["head"] = hashlib.sha256(manifest.ik_head).hexdigest()
    if manifest.expires_unix_s:
        found["expires"] = manifest.expires_unix_s
    return found


def check_signed(manifest: Manifest, *, result: str, custom: Mapping[str, Any]) -> None:
    """Raise UpdateError (not_signed) unless `manifest` leads to the version that is signed:
    `result` is its sha256 in hex, `custom` as of `custom_of`.
    """
    head = hashlib.sha256(manifest.ik_head).hexdigest() if manifest.ik_head else None
    claims = {
        "its result": (manifest.target_digest.hex(), result),
        "its number": (manifest.target_version, custom.get("version")),
        "whom it is for": (line_digest(manifest), custom.get("for")),
        "its P(IK) head": (head, custom.get("head")),
        "its end": (manifest.expires_unix_s, custom.get("expires", 0)),
    }
    is_step = manifest.kind is UpdateKind.DELTA and manifest.base_digest.hex() == custom.get("base")
    if is_step:
        claims["its bytes"] = (manifest.blob_digest.hex(), custom.get("blob"))
        claims["its size"] = (manifest.blob_bytes, custom.get("bytes"))
    wrong = [what for what, (said, signed) in claims.items() if said != signed]
    if wrong:
        raise UpdateError(
            f"version {manifest.target_version} is not what was signed: {', '.join(wrong)}",
            reason=Reason.NOT_SIGNED,
        )
