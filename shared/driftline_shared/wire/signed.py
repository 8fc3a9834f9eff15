"""Signed metadata of updates as messages: files as they were signed, bounded before reading."""

from __future__ import annotations

import re

from google.protobuf.message import DecodeError

from driftline_proto.v1 import downlink_pb2
from driftline_shared.codec.entropy import expand, shrink
from driftline_shared.errors import CodecError, Reason, UpdateError
from driftline_shared.signing.bundle import (
    MAX_METADATA_BYTES,
    MAX_PACKED_BYTES,
    MAX_ROOTS,
    MAX_SIGNED_BYTES,
    SignedBundle,
    SignedState,
)
from driftline_shared.wire.fields import to_message, to_value

_LINE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def to_signed_state(state: SignedState) -> downlink_pb2.SignedState:
    """What a device holds."""
    return to_message(downlink_pb2.SignedState, state)


def from_signed_state(message: downlink_pb2.SignedState) -> SignedState:
    """What a device says it holds: any numbers."""
    return to_value(SignedState, message)


def to_signed_bundle(bundle: SignedBundle) -> downlink_pb2.SignedBundle:
    """Files of signed metadata."""
    return to_message(downlink_pb2.SignedBundle, bundle)


def from_signed_bundle(message: downlink_pb2.SignedBundle) -> SignedBundle:
    """Files of signed metadata, bounded; whether they are to be believed is for TUF to say."""
    bundle = to_value(SignedBundle, message, roots=tuple(message.roots))
    if len(bundle.roots) > MAX_ROOTS:
        raise _invalid(f"{len(bundle.roots)} roots, at most {MAX_ROOTS} are read")
    if bundle.line and not _LINE.fullmatch(bundle.line):
        raise _invalid("the signed metadata names no line")
    if any(len(file) > MAX_METADATA_BYTES for file in bundle.files()):
        raise _invalid(f"a file of signed metadata has more than {MAX_METADATA_BYTES} bytes")
    return bundle


def pack_signed(bundle: SignedBundle) -> tuple[bytes, int]:
    """(bytes as they travel, how many they are decompressed)."""
    data = to_signed_bundle(bundle).SerializeToString(deterministic=True)
    packed = shrink(data)
    _check_sizes(packed, len(data))
    return packed, len(data)


def unpack_signed(packed: bytes, num_bytes: int) -> SignedBundle:
    """The bundle in `packed`, which gives `num_bytes`; UpdateError (metadata_invalid)."""
    _check_sizes(packed, num_bytes)
    try:
        message = downlink_pb2.SignedBundle.FromString(expand(packed, num_bytes))
    except (CodecError, DecodeError) as error:
        raise _invalid(f"the signed metadata does not decode: {error}") from error
    return from_signed_bundle(message)


def _check_sizes(packed: bytes, num_bytes: int) -> None:
    if len(packed) > MAX_PACKED_BYTES or num_bytes > MAX_SIGNED_BYTES:
        raise _invalid(
            f"{num_bytes} bytes of signed metadata, {len(packed)} as they travel, are more than "
            f"{MAX_SIGNED_BYTES} and {MAX_PACKED_BYTES}"
        )


def _invalid(text: str) -> UpdateError:
    return UpdateError(text, reason=Reason.METADATA_INVALID)
