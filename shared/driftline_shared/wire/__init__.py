"""The one place where domain values meet protobuf messages: `to_x` and `from_x` pairs.

`to_x` raises what the other side would refuse; `from_x` bounds and checks everything before it
builds a value, so a domain value that exists is a valid one. Fields we do not know are ignored.
Errors are `SampleError`, `UpdateError` or `LinkError` with the exact reason; gRPC carries the
reason's code in the trailing metadata under `REASON_KEY`.
"""

from __future__ import annotations

from driftline_shared.wire.control import (
    from_cloud_status,
    from_enrolment,
    from_policy,
    from_round_status,
    from_status_request,
    from_welcome,
    to_cloud_status,
    to_enrolment,
    to_policy,
    to_round_status,
    to_status_request,
    to_welcome,
)
from driftline_shared.wire.samples import (
    EncodedSample,
    dump_sample,
    from_ack,
    from_acks,
    from_coded_tokens,
    from_correction,
    from_corrections,
    from_regions,
    from_sample,
    from_seen,
    load_sample,
    sample_id,
    to_ack,
    to_acks,
    to_batch,
    to_coded_tokens,
    to_correction,
    to_regions,
    to_sample,
)
from driftline_shared.wire.signed import (
    from_signed_bundle,
    from_signed_state,
    pack_signed,
    to_signed_bundle,
    to_signed_state,
    unpack_signed,
)
from driftline_shared.wire.updates import (
    dump_manifest,
    from_blob_request,
    from_chunk,
    from_manifest,
    from_report,
    from_update_query,
    to_blob_request,
    to_chunk,
    to_manifest,
    to_report,
    to_update_query,
)

REASON_KEY = "driftline-reason"
"""Trailing metadata of a failed call: the stable code; the status text is the sentence."""

__all__ = [
    "REASON_KEY",
    "EncodedSample",
    "dump_manifest",
    "dump_sample",
    "from_ack",
    "from_acks",
    "from_blob_request",
    "from_chunk",
    "from_cloud_status",
    "from_coded_tokens",
    "from_correction",
    "from_corrections",
    "from_enrolment",
    "from_manifest",
    "from_policy",
    "from_regions",
    "from_report",
    "from_round_status",
    "from_sample",
    "from_seen",
    "from_signed_bundle",
    "from_signed_state",
    "from_status_request",
    "from_update_query",
    "from_welcome",
    "load_sample",
    "pack_signed",
    "sample_id",
    "to_ack",
    "to_acks",
    "to_batch",
    "to_blob_request",
    "to_chunk",
    "to_cloud_status",
    "to_coded_tokens",
    "to_correction",
    "to_enrolment",
    "to_manifest",
    "to_policy",
    "to_regions",
    "to_report",
    "to_round_status",
    "to_sample",
    "to_signed_bundle",
    "to_signed_state",
    "to_status_request",
    "to_update_query",
    "to_welcome",
    "unpack_signed",
]
