"""From the catalogue of reasons to gRPC status codes: one total table, no defaults.

A reason of one sample travels in its ack; these codes are for a call that fails as a whole. A
test holds the table against the catalogue, so a new reason must choose its code.
"""

from __future__ import annotations

from collections.abc import Mapping

import grpc

from driftline_shared.errors import Reason

_Code = grpc.StatusCode

STATUS_CODES: Mapping[Reason, grpc.StatusCode] = {
    Reason.INTERNAL: _Code.INTERNAL,
    Reason.CONFIG_INVALID: _Code.INTERNAL,
    Reason.STATE_IN_USE: _Code.INTERNAL,
    Reason.STOPPING: _Code.UNAVAILABLE,
    Reason.DATA_INVALID: _Code.INVALID_ARGUMENT,
    Reason.PAIR_INVALID: _Code.INTERNAL,
    # samples
    Reason.UNKNOWN_DEVICE: _Code.UNAUTHENTICATED,
    Reason.PROTOCOL_MISMATCH: _Code.FAILED_PRECONDITION,
    Reason.TOKEN_SPACE_UNKNOWN: _Code.FAILED_PRECONDITION,
    Reason.BASE_MODEL_UNKNOWN: _Code.FAILED_PRECONDITION,
    Reason.SAMPLE_ID_INVALID: _Code.INVALID_ARGUMENT,
    Reason.SAMPLE_TOO_LARGE: _Code.INVALID_ARGUMENT,
    Reason.SAMPLE_CORRUPT: _Code.DATA_LOSS,
    Reason.SAMPLE_SHAPE: _Code.INVALID_ARGUMENT,
    Reason.SAMPLE_NOT_FINITE: _Code.INVALID_ARGUMENT,
    Reason.SAMPLE_CODEC_UNKNOWN: _Code.INVALID_ARGUMENT,
    Reason.SAMPLE_TABLES_UNKNOWN: _Code.FAILED_PRECONDITION,
    Reason.SAMPLE_TEXT_INVALID: _Code.INVALID_ARGUMENT,
    Reason.SAMPLE_PICTURE_INVALID: _Code.INVALID_ARGUMENT,
    Reason.BATCH_TOO_LARGE: _Code.INVALID_ARGUMENT,
    Reason.QUOTA_EXCEEDED: _Code.RESOURCE_EXHAUSTED,
    Reason.STORE_BUSY: _Code.UNAVAILABLE,
    Reason.RATE_EXCEEDED: _Code.RESOURCE_EXHAUSTED,
    # the teacher's answers
    Reason.ANSWERS_OFF: _Code.FAILED_PRECONDITION,
    Reason.ANSWERS_FULL: _Code.RESOURCE_EXHAUSTED,
    Reason.ANSWER_LATE: _Code.DEADLINE_EXCEEDED,
    Reason.ANSWER_FAILED: _Code.INTERNAL,
    # rounds
    Reason.LINE_UNKNOWN: _Code.NOT_FOUND,
    Reason.LINE_PAUSED: _Code.FAILED_PRECONDITION,
    Reason.LINE_DROPPED: _Code.FAILED_PRECONDITION,
    Reason.ROUND_OPEN: _Code.FAILED_PRECONDITION,
    Reason.ROLLOUT_OPEN: _Code.FAILED_PRECONDITION,
    Reason.TOO_FEW_SAMPLES: _Code.FAILED_PRECONDITION,
    # updates
    Reason.BLOB_UNKNOWN: _Code.NOT_FOUND,
    Reason.OFFSET_INVALID: _Code.OUT_OF_RANGE,
    Reason.MANIFEST_INVALID: _Code.INTERNAL,
    Reason.UPDATE_EXPIRED: _Code.FAILED_PRECONDITION,
    Reason.VERSION_NOT_NEWER: _Code.FAILED_PRECONDITION,
    Reason.BASE_MISMATCH: _Code.FAILED_PRECONDITION,
    Reason.DIGEST_MISMATCH: _Code.DATA_LOSS,
    Reason.UPDATE_CORRUPT: _Code.DATA_LOSS,
    Reason.PROBE_NOT_FINITE: _Code.FAILED_PRECONDITION,
    Reason.PROBE_TOO_SLOW: _Code.FAILED_PRECONDITION,
    Reason.PROBE_DISAGREES: _Code.FAILED_PRECONDITION,
    Reason.OWNER_DISAGREES: _Code.FAILED_PRECONDITION,
    Reason.MARKS_UNREADABLE: _Code.UNAVAILABLE,
    Reason.PROBE_INTERRUPTED: _Code.FAILED_PRECONDITION,
    Reason.PROBE_ERROR: _Code.FAILED_PRECONDITION,
    Reason.SLOT_CORRUPT: _Code.FAILED_PRECONDITION,
    Reason.WATCH_ERRORS: _Code.FAILED_PRECONDITION,
    Reason.WATCH_UNSURE: _Code.FAILED_PRECONDITION,
    Reason.OPERATOR_ROLLBACK: _Code.FAILED_PRECONDITION,
    Reason.APPLIED: _Code.FAILED_PRECONDITION,
    # trust
    Reason.NOT_ENROLLED: _Code.UNAUTHENTICATED,
    Reason.NOT_ALLOWED: _Code.PERMISSION_DENIED,
    Reason.NOT_YOUR_ID: _Code.PERMISSION_DENIED,
    Reason.REVOKED: _Code.PERMISSION_DENIED,
    Reason.TOKEN_INVALID: _Code.PERMISSION_DENIED,
    Reason.AUTHORITY_UNKNOWN: _Code.UNAUTHENTICATED,
    Reason.TLS_TOO_OLD: _Code.UNAUTHENTICATED,
    # link
    Reason.MESSAGE_INVALID: _Code.INVALID_ARGUMENT,
    Reason.UNREACHABLE: _Code.UNAVAILABLE,
}
