"""The tree of errors, and the one catalogue that gives each a stable code and a fix.

    DriftlineError
    ├── ConfigError             a setting is wrong
    ├── DataError               a row, file or image from outside is wrong
    ├── PairError               a model pair is incomplete or does not fit together
    ├── CodecError              bytes that should decode do not
    ├── SampleError             a sample the cloud refuses
    ├── UpdateError             an update the device refuses
    └── LinkError               the other side cannot be reached or does not agree

Every error carries a `Reason`: a code that never changes its meaning, so that logs, gRPC details,
reports and docs say the same word. `explain(reason)` is the sentence that says what to do.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Stable codes: once released, a code is never reused for something else."""

    INTERNAL = "internal"
    CONFIG_INVALID = "config_invalid"
    STATE_IN_USE = "state_in_use"
    STOPPING = "stopping"
    DATA_INVALID = "data_invalid"
    PAIR_INVALID = "pair_invalid"
    PAIR_UNTRUSTED = "pair_untrusted"
    # samples
    UNKNOWN_DEVICE = "unknown_device"
    PROTOCOL_MISMATCH = "protocol_mismatch"
    TOKEN_SPACE_UNKNOWN = "token_space_unknown"
    BASE_MODEL_UNKNOWN = "base_model_unknown"
    SAMPLE_ID_INVALID = "sample_id_invalid"
    SAMPLE_TOO_LARGE = "sample_too_large"
    SAMPLE_CORRUPT = "sample_corrupt"
    SAMPLE_SHAPE = "sample_shape"
    SAMPLE_NOT_FINITE = "sample_not_finite"
    SAMPLE_OUTLIER = "sample_outlier"
    SAMPLE_DISPUTED = "sample_disputed"
    SAMPLE_COPY = "sample_copy"
    SAMPLE_LONE_ANSWER = "sample_lone_answer"
    SAMPLE_CODEC_UNKNOWN = "sample_codec_unknown"
    SAMPLE_TABLES_UNKNOWN = "sample_tables_unknown"
    SAMPLE_TEXT_INVALID = "sample_text_invalid"
    SAMPLE_PICTURE_INVALID = "sample_picture_invalid"
    BATCH_TOO_LARGE = "batch_too_large"
    QUOTA_EXCEEDED = "quota_exceeded"
    STORE_BUSY = "store_busy"
    RATE_EXCEEDED = "rate_exceeded"
    # the teacher's answers
    ANSWERS_OFF = "answers_off"
    ANSWERS_FULL = "answers_full"
    ANSWER_LATE = "answer_late"
    ANSWER_FAILED = "answer_failed"
    # rounds
    LINE_UNKNOWN = "line_unknown"
    LINE_PAUSED = "line_paused"
    LINE_DROPPED = "line_dropped"
    ROUND_OPEN = "round_open"
    TOO_FEW_SAMPLES = "too_few_samples"
    ROLLOUT_OPEN = "rollout_open"
    # updates
    BLOB_UNKNOWN = "blob_unknown"
    OFFSET_INVALID = "offset_invalid"
    MANIFEST_INVALID = "manifest_invalid"
    UPDATE_EXPIRED = "update_expired"
    NOT_SIGNED = "not_signed"
    SIGNATURE_INVALID = "signature_invalid"
    METADATA_EXPIRED = "metadata_expired"
    METADATA_OLDER = "metadata_older"
    METADATA_INVALID = "metadata_invalid"
    VERSION_NOT_NEWER = "version_not_newer"
    BASE_MISMATCH = "base_mismatch"
    DIGEST_MISMATCH = "digest_mismatch"
    UPDATE_CORRUPT = "update_corrupt"
    PROBE_NOT_FINITE = "probe_not_finite"
    PROBE_TOO_SLOW = "probe_too_slow"
    PROBE_DISAGREES = "probe_disagrees"
    OWNER_DISAGREES = "owner_disagrees"
    MARKS_UNREADABLE = "marks_unreadable"
    PROBE_INTERRUPTED = "probe_interrupted"
    PROBE_ERROR = "probe_error"
    SLOT_CORRUPT = "slot_corrupt"
    WATCH_ERRORS = "watch_errors"
    WATCH_UNSURE = "watch_unsure"
    OPERATOR_ROLLBACK = "operator_rollback"
    APPLIED = "applied"
    # trust
    NOT_ENROLLED = "not_enrolled"
    NOT_ALLOWED = "not_allowed"
    NOT_YOUR_ID = "not_your_id"
    REVOKED = "revoked"
    TOKEN_INVALID = "token_invalid"
    AUTHORITY_UNKNOWN = "authority_unknown"
    TLS_TOO_OLD = "tls_too_old"
    # link
    UNREACHABLE = "unreachable"
    MESSAGE_INVALID = "message_invalid"


_FIXES: dict[Reason, str] = {
    Reason.INTERNAL: "This is a fault of ours: look at the log of the side that reported it.",
    Reason.CONFIG_INVALID: "Correct the setting or flag that is named; --help lists what there is.",
    Reason.STATE_IN_USE: "Stop the other process, or give this one a folder of its own.",
    Reason.STOPPING: "Ask again in a moment: the device starts or ends just now.",
    Reason.DATA_INVALID: "Correct or replace what is named.",
    Reason.PAIR_INVALID: (
        "Point to a complete pair folder; `driftline models check` says what it lacks."
    ),
    Reason.PAIR_UNTRUSTED: (
        "Take the pair again from whom you trust, or have its maker sign it with"
        " `driftline models sign`."
    ),
    Reason.UNKNOWN_DEVICE: "Enrol the device first; the daemon does so at every start.",
    Reason.PROTOCOL_MISMATCH: "Install the same major version of driftline on both sides.",
    Reason.TOKEN_SPACE_UNKNOWN: (
        "Use the same pair on device and cloud: their vision towers differ."
    ),
    Reason.BASE_MODEL_UNKNOWN: "Use the same pair and quantization on device and cloud.",
    Reason.SAMPLE_ID_INVALID: "A sample id has 16 bytes; this sample cannot be stored, drop it.",
    Reason.SAMPLE_TOO_LARGE: "Lower token_share or use a smaller token_codec.",
    Reason.SAMPLE_CORRUPT: "The bytes broke on the way or on disk; drop the sample.",
    Reason.SAMPLE_SHAPE: "The tokens do not fit the token space; check the pair on the device.",
    Reason.SAMPLE_NOT_FINITE: "The tokens hold NaN or infinity; check the device's tower.",
    Reason.SAMPLE_OUTLIER: (
        "Its tokens are far from all others: look at the device's camera and who has its key."
    ),
    Reason.SAMPLE_DISPUTED: (
        "Owner and teacher are sure of different answers: see who is right; drop or release it."
    ),
    Reason.SAMPLE_COPY: "The same was sent before; the device's repeat_distance keeps copies back.",
    Reason.SAMPLE_LONE_ANSWER: (
        "Only one device gets this answer: see what it looks at, then drop or release it."
    ),
    Reason.SAMPLE_CODEC_UNKNOWN: "Update the cloud or choose a codec it knows (int8, int4).",
    Reason.SAMPLE_TABLES_UNKNOWN: (
        "Use the same token_codec.safetensors in the pair's folder on device and cloud."
    ),
    Reason.SAMPLE_TEXT_INVALID: "Question and answer are needed and bounded; shorten the text.",
    Reason.SAMPLE_PICTURE_INVALID: (
        "The JPEG parts are not those of the named picture; update driftline on the device."
    ),
    Reason.BATCH_TOO_LARGE: "Send batches of at most 1 MiB.",
    Reason.QUOTA_EXCEEDED: "The device has used its quota; it may send again tomorrow.",
    Reason.STORE_BUSY: (
        "The cloud could not write just now: devices send again by themselves, a command is to be "
        "given again."
    ),
    Reason.ANSWERS_OFF: "Set escalation.max_waiting above 0 in the cloud, or escalate to never.",
    Reason.ANSWERS_FULL: (
        "The cloud has enough to answer: lower escalate_share, or raise escalation.max_waiting."
    ),
    Reason.ANSWER_LATE: "The teacher did not come to it in time; see escalation.max_age_s.",
    Reason.ANSWER_FAILED: "The teacher could not answer it; the cloud's log says why.",
    Reason.RATE_EXCEEDED: "Wait a moment; the device calls again by itself.",
    Reason.LINE_UNKNOWN: "Name a line that `driftline cloud status` shows, or none.",
    Reason.LINE_PAUSED: "`driftline cloud line resume` lets its rounds go on.",
    Reason.LINE_DROPPED: (
        "The cloud serves this pair no longer; the device answers alone and asks now and then."
    ),
    Reason.ROUND_OPEN: "Wait until it has ended; `driftline cloud status` shows how far it is.",
    Reason.ROLLOUT_OPEN: (
        "Wait until the version is everyone's; `driftline cloud release promote --all` makes it so."
    ),
    Reason.TOO_FEW_SAMPLES: "Wait until devices have sent more.",
    Reason.BLOB_UNKNOWN: "Check for an update again; this one is no longer offered.",
    Reason.OFFSET_INVALID: "Start the download again from offset 0.",
    Reason.MANIFEST_INVALID: "The update is malformed; release it again from the cloud.",
    Reason.UPDATE_EXPIRED: "The update is past its expiry; release a newer one.",
    Reason.NOT_SIGNED: (
        "The update is not one that its cloud signed; look at who stands between, and whether the"
        " cloud has its keys (`driftline cloud keys show`)."
    ),
    Reason.SIGNATURE_INVALID: (
        "Somebody else signed the metadata of updates, or too few did. If the cloud has new"
        " keys, it must send every root between; else enrol the device anew."
    ),
    Reason.METADATA_EXPIRED: (
        "The cloud has not signed lately: see that it runs, that `driftline cloud keys show` names"
        " no end that has passed, and that this machine's clock is right. The device answers on."
    ),
    Reason.METADATA_OLDER: (
        "The metadata of updates is older than what the device had: the cloud was set back, or"
        " somebody replays it. `driftline cloud keys rotate` makes devices take what it has now."
    ),
    Reason.METADATA_INVALID: (
        "The metadata of updates cannot be read, or is too large; check the version of driftline on"
        " both sides."
    ),
    Reason.VERSION_NOT_NEWER: "Only a newer version is applied; nothing to do.",
    Reason.BASE_MISMATCH: (
        "The device holds another base; the cloud offers a full update by policy."
    ),
    Reason.DIGEST_MISMATCH: "The bytes are not what the manifest names; they are fetched again.",
    Reason.UPDATE_CORRUPT: "The update does not decode; release it again from the cloud.",
    Reason.PROBE_NOT_FINITE: "The new adapter gives NaN; the device stays on the old version.",
    Reason.PROBE_TOO_SLOW: (
        "The new adapter answers too slowly; the device stays on the old version."
    ),
    Reason.PROBE_DISAGREES: (
        "The new adapter fails the self-check; the device stays on the old one."
    ),
    Reason.OWNER_DISAGREES: (
        "The new adapter breaks more answers that the owner marked than it fixes; the device stays"
        " on the old version."
    ),
    Reason.MARKS_UNREADABLE: (
        "The answers that the owner marked cannot be read, so no new version can be held to them:"
        " look at the disk and history.sqlite; the update waits until they can."
    ),
    Reason.PROBE_INTERRUPTED: "The device stopped while it probed; the version is not tried again.",
    Reason.PROBE_ERROR: "The new adapter does not run; the device stays on the old version.",
    Reason.SLOT_CORRUPT: "The slot is broken on disk; the device runs the other one or the base.",
    Reason.WATCH_ERRORS: "The new version failed while it answered; the device went back.",
    Reason.WATCH_UNSURE: (
        "The new version was far less sure than the old one; the device went back."
    ),
    Reason.OPERATOR_ROLLBACK: "An operator went back; the version is not tried again.",
    Reason.APPLIED: "Nothing to do.",
    Reason.NOT_ENROLLED: (
        "Enrol the device: `driftline device enrol` with what `driftline cloud enrol-token` prints."
    ),
    Reason.NOT_ALLOWED: (
        "Use a certificate of that role; `driftline cloud member add` makes one for an operator."
    ),
    Reason.NOT_YOUR_ID: "A device speaks for itself alone: its id is its key's. Enrol it anew.",
    Reason.REVOKED: (
        "An operator has shut it out; `driftline cloud member accept` lets it in again."
    ),
    Reason.TOKEN_INVALID: "Ask the operator for a new one: `driftline cloud enrol-token`.",
    Reason.AUTHORITY_UNKNOWN: (
        "The cloud there is not the one that invited this device, or somebody stands between."
    ),
    Reason.TLS_TOO_OLD: "Use a client that speaks TLS 1.3.",
    Reason.MESSAGE_INVALID: "A message holds a value out of its range; check that side's version.",
    Reason.UNREACHABLE: "Check address and network; the device keeps answering and tries again.",
}


def explain(reason: Reason) -> str:
    """One sentence that says what to do about `reason`."""
    return _FIXES[reason]


class DriftlineError(Exception):
    """Any error of ours: `reason` is its stable code, the text names the cause.

    `fix`: what to do, where it is known better than the reason alone tells.
    """

    reason: Reason = Reason.INTERNAL

    def __init__(self, message: str, *, reason: Reason | None = None, fix: str = "") -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason
        self._fix = fix

    @property
    def has_own_fix(self) -> bool:
        """Whether `fix` was given with the error, and is not of its reason."""
        return bool(self._fix)

    @property
    def fix(self) -> str:
        """What the user can do about it."""
        return self._fix or explain(self.reason)


class ConfigError(DriftlineError):
    """A setting is wrong; the text names its key."""

    reason = Reason.CONFIG_INVALID


class MissingPackageError(ConfigError):
    """A package is not installed; `fix` says how to get it."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message, fix=fix)


class DataError(DriftlineError):
    """A row, file or image from outside is wrong; the text names the place."""

    reason = Reason.DATA_INVALID


class PairError(DriftlineError):
    """A model pair is incomplete or its parts do not fit together."""

    reason = Reason.PAIR_INVALID


class CodecError(DriftlineError):
    """Bytes that should decode do not."""

    reason = Reason.SAMPLE_CORRUPT


class SampleError(DriftlineError):
    """A sample the cloud refuses."""

    reason = Reason.SAMPLE_CORRUPT


class UpdateError(DriftlineError):
    """An update the device refuses."""

    reason = Reason.UPDATE_CORRUPT


class LinkError(DriftlineError):
    """The other side cannot be reached or does not agree."""

    reason = Reason.UNREACHABLE
