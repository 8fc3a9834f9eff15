"""An update's manifest: made from a packed update and its place in a line; JSON on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter

from driftline_cloud.intake.line import Line
from driftline_cloud.release.packer import Packed
from driftline_shared.bounds import check_manifest
from driftline_shared.errors import Reason, UpdateError
from driftline_shared.update import Manifest
from driftline_shared.wire import dump_manifest

_MANIFEST = TypeAdapter(Manifest)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """Where a version comes from, and the P(IK) head that goes with it. Every number of `gate`
    costs about 30 bytes on each download.
    """

    round_id: str
    num_samples: int
    created_unix_s: int
    expires_unix_s: int = 0
    gate: Mapping[str, float] = field(default_factory=dict)
    ik_head: bytes = b""


def manifest_of(
    packed: Packed, line: Line, lineage: Lineage, *, base_version: int, target_version: int
) -> Manifest:
    """The manifest under which `packed` is offered."""
    manifest = Manifest(
        pair=line.pair,
        base_model=line.base_model,
        token_space=line.token_space.digest,
        base_version=base_version,
        target_version=target_version,
        base_digest=packed.base_digest,
        target_digest=packed.target_digest,
        kind=packed.kind,
        tensors=packed.tensors,
        blob_digest=hashlib.sha256(packed.blob).digest(),
        blob_bytes=len(packed.blob),
        raw_bytes=packed.raw_bytes,
        created_unix_s=lineage.created_unix_s,
        expires_unix_s=lineage.expires_unix_s,
        gate=dict(lineage.gate),
        round_id=lineage.round_id,
        num_samples=lineage.num_samples,
        ik_head=lineage.ik_head,
        format=packed.format,
    )
    check_manifest(manifest)
    return manifest


def update_bytes(manifest: Manifest) -> int:
    """What an update costs on the wire: manifest and blob."""
    return len(dump_manifest(manifest)) + manifest.blob_bytes


def manifest_to_json(manifest: Manifest) -> bytes:
    """`manifest` as JSON; bytes as hex."""
    document = _document(manifest)
    return json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode()


def manifest_from_json(text: bytes) -> Manifest:
    """The manifest in `text`; UpdateError (manifest_invalid) if anything is missing or too much."""
    try:
        manifest = _MANIFEST.validate_json(text)
        if json.loads(text) != _document(manifest):
            raise ValueError("keys are missing")
        check_manifest(manifest)
    except (ValueError, TypeError) as error:
        raise UpdateError(
            f"a stored manifest cannot be read: {error}", reason=Reason.MANIFEST_INVALID
        ) from error
    return manifest


def _document(manifest: Manifest) -> dict[str, object]:
    """Without the head where there is none: so were manifests written before there were heads."""
    document: dict[str, object] = _MANIFEST.dump_python(manifest, mode="json")
    if not manifest.ik_head:
        del document["ik_head"]
    return document
