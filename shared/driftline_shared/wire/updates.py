"""Manifests, blobs and reports as messages."""

from __future__ import annotations

import math
import zlib

from driftline_proto.v1 import downlink_pb2
from driftline_shared import bounds
from driftline_shared.errors import LinkError, Reason, UpdateError
from driftline_shared.plain_text import visible
from driftline_shared.status import BlobRequest, Chunk, UpdateOutcome, UpdateQuery, UpdateReport
from driftline_shared.update import MAX_TENSORS, TENSORS_FORMAT, Manifest, TensorEntry, UpdateKind
from driftline_shared.wire.fields import to_message, to_value
from driftline_shared.wire.signed import from_signed_state, to_signed_state

_KINDS = {
    UpdateKind.DELTA: downlink_pb2.UPDATE_KIND_DELTA,
    UpdateKind.FULL: downlink_pb2.UPDATE_KIND_FULL,
}
_KINDS_BACK = {number: kind for kind, number in _KINDS.items()}


def to_update_query(query: UpdateQuery) -> downlink_pb2.CheckRequest:
    """A question for something newer; the oldest of too many failed versions are left out."""
    failed = sorted(query.failed_versions)[-bounds.MAX_FAILED_VERSIONS :]
    newer = query.manifest_format if query.manifest_format > TENSORS_FORMAT else 0
    return to_message(
        downlink_pb2.CheckRequest,
        query,
        failed_versions=failed,
        manifest_format=newer,
        signed=None if query.signed is None else to_signed_state(query.signed),
    )


def from_update_query(message: downlink_pb2.CheckRequest) -> UpdateQuery:
    """A checked question for something newer."""
    bounds.check_device_id(message.device_id)
    bounds.check_word("base_model", message.base_model)
    bounds.check_count("adapter_version", message.adapter_version)
    if len(message.failed_versions) > bounds.MAX_FAILED_VERSIONS:
        raise LinkError("too many failed versions", reason=Reason.MESSAGE_INVALID)
    return to_value(
        UpdateQuery,
        message,
        failed_versions=tuple(message.failed_versions),
        # Devices of before there were two formats do not say.
        manifest_format=max(TENSORS_FORMAT, message.manifest_format),
        signed=from_signed_state(message.signed) if message.HasField("signed") else None,
    )


def to_manifest(manifest: Manifest) -> downlink_pb2.Manifest:
    """A manifest."""
    bounds.check_manifest(manifest)
    return to_message(
        downlink_pb2.Manifest,
        manifest,
        kind=_KINDS[manifest.kind],
        tensors=[to_message(downlink_pb2.TensorEntry, entry) for entry in manifest.tensors],
    )


def from_manifest(message: downlink_pb2.Manifest) -> Manifest:
    """A checked manifest; whether it fits this device is for the updates to say."""
    kind = _KINDS_BACK.get(message.kind)
    if kind is None or len(message.tensors) > MAX_TENSORS:
        raise UpdateError(
            f"kind {message.kind} with {len(message.tensors)} tensors is not readable here",
            reason=Reason.MANIFEST_INVALID,
        )
    manifest = to_value(
        Manifest,
        message,
        kind=kind,
        tensors=tuple(_from_tensor(entry) for entry in message.tensors),
        gate=dict(message.gate),
    )
    bounds.check_manifest(manifest)
    return manifest


def _from_tensor(message: downlink_pb2.TensorEntry) -> TensorEntry:
    shape = tuple(message.shape[: bounds.MAX_DIMENSIONS + 1])
    return to_value(TensorEntry, message, shape=shape)


def dump_manifest(manifest: Manifest) -> bytes:
    """A manifest as bytes for a store."""
    return to_manifest(manifest).SerializeToString(deterministic=True)


def to_blob_request(request: BlobRequest) -> downlink_pb2.FetchRequest:
    """A request for the bytes of a blob."""
    bounds.check_digest(request.digest)
    return to_message(downlink_pb2.FetchRequest, request)


def from_blob_request(message: downlink_pb2.FetchRequest) -> BlobRequest:
    """A checked request; whether the offset lies in the blob is the store's to say."""
    bounds.check_device_id(message.device_id)
    bounds.check_digest(message.digest)
    return to_value(BlobRequest, message)


def to_chunk(chunk: Chunk) -> downlink_pb2.Chunk:
    """A chunk with the crc32 of its data."""
    return downlink_pb2.Chunk(offset=chunk.offset, data=chunk.data, crc32=zlib.crc32(chunk.data))


def from_chunk(message: downlink_pb2.Chunk) -> Chunk:
    """A chunk that came whole and is not larger than agreed."""
    if not 1 <= len(message.data) <= bounds.MAX_CHUNK_BYTES:
        raise UpdateError(f"a chunk of {len(message.data)} bytes is not within bounds")
    if zlib.crc32(message.data) != message.crc32:
        raise UpdateError(f"crc32 of the chunk at {message.offset} differs")
    return Chunk(offset=message.offset, data=message.data)


def to_report(device_id: str, report: UpdateReport) -> downlink_pb2.ReportRequest:
    """A report; numbers that are not finite are left out, a long detail is cut."""
    numbers = {name: value for name, value in report.numbers.items() if math.isfinite(value)}
    return to_message(
        downlink_pb2.ReportRequest,
        report,
        device_id=device_id,
        detail=bounds.cut(report.detail),
        numbers=numbers,
    )


def from_report(message: downlink_pb2.ReportRequest) -> tuple[str, UpdateReport]:
    """(device_id, report), checked."""
    bounds.check_device_id(message.device_id)
    if message.outcome not in set(UpdateOutcome):
        raise LinkError("outcome is not known here", reason=Reason.MESSAGE_INVALID)
    report = to_value(
        UpdateReport,
        message,
        outcome=UpdateOutcome(message.outcome),
        reason=visible(message.reason[: bounds.MAX_WORD_CHARS + 1]),
        detail=bounds.cut(message.detail),
        numbers=bounds.numbers(message.numbers),
    )
    bounds.check_report(report)
    return message.device_id, report
