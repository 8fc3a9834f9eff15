"""What values from outside may be: one check per domain type, each raising with its exact reason.

Both borders use these: `wire` after reading a message and before writing one, so neither side
can send what the other must refuse.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from driftline_shared.errors import (
    DataError,
    DriftlineError,
    LinkError,
    Reason,
    SampleError,
    UpdateError,
)
from driftline_shared.plain_text import visible
from driftline_shared.status import Correction, Enrolment, UpdateReport
from driftline_shared.tokens import (
    MAX_PICTURE_PIXELS,
    MAX_PICTURE_SIDE,
    MAX_SAMPLE_BYTES,
    MAX_TEXT_CHARS,
    MAX_TOKENS,
    CodedTokens,
    Grid,
    RegionLayout,
    Regions,
    Sample,
    SamplingPolicy,
)
from driftline_shared.update import (
    MANIFEST_FORMAT,
    MAX_RAW_BYTES,
    MAX_TENSORS,
    STEPS_FORMAT,
    TENSORS_FORMAT,
    Manifest,
    TensorEntry,
    UpdateKind,
)

SAMPLE_ID_BYTES = 16
MAX_BATCH_BYTES = MAX_SAMPLE_BYTES + (1 << 16)
"""Most bytes of one batch message: one sample of the largest payload fits with its envelope."""

MAX_CHUNK_BYTES = 1 << 20
MAX_CORRECTIONS = 256
MAX_SCORES = 16
MAX_NUMBERS = 256
MAX_REPORT_NUMBERS = 64
MAX_SHOWN_DEVICES = 10_000
MAX_NAME_CHARS = 512
MAX_WORD_CHARS = 128
MAX_DETAIL_CHARS = 1_000
MAX_SIGNATURE_BYTES = 1 << 14
MAX_HEAD_BYTES = 1 << 15
MAX_DIMENSIONS = 8
MAX_FAILED_VERSIONS = 1_024
DIGEST_BYTES = 32
TENSOR_DIGEST_BYTES = 8
_MAX_INT = (1 << 63) - 1
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_sample(sample: Sample) -> None:
    """Raise `SampleError` if the cloud could never take `sample`, whatever its token space."""
    if len(sample.id) != SAMPLE_ID_BYTES:
        raise SampleError(
            f"sample id has {len(sample.id)} bytes, not {SAMPLE_ID_BYTES}",
            reason=Reason.SAMPLE_ID_INVALID,
        )
    check_coded_tokens(sample.tokens)
    if sample.regions is not None:
        check_regions(sample.regions, sample.tokens.grid)
        num_bytes = len(sample.tokens.payload) + sample.regions.num_bytes
        if num_bytes > MAX_SAMPLE_BYTES:
            raise SampleError(
                f"tokens and regions have {num_bytes} bytes, at most {MAX_SAMPLE_BYTES} are taken",
                reason=Reason.SAMPLE_TOO_LARGE,
            )
    _check_text("question", sample.question, required=True)
    # A model may answer with nothing at all: that too is an answer worth a teacher's look.
    _check_text("answer", sample.answer, required=False)
    _check_text("owner_answer", sample.owner_answer, required=False)
    if len(sample.scores) > MAX_SCORES:
        raise SampleError(f"{len(sample.scores)} scores, at most {MAX_SCORES} are read")
    for name, value in sample.scores.items():
        if not _is_word(name):
            raise SampleError("a score has no usable name")
        if not math.isfinite(value):
            raise SampleError(f"score {name} is {value}", reason=Reason.SAMPLE_NOT_FINITE)
    if not 0 <= sample.created_unix_s <= _MAX_INT or not 0 <= sample.adapter_version <= _MAX_INT:
        raise SampleError("creation time or adapter version is negative or beyond 63 bits")


def check_correction(correction: Correction) -> None:
    """Raise `LinkError` if no device could act upon `correction`."""
    if len(correction.id) != SAMPLE_ID_BYTES:
        raise _invalid(f"a correction's id has {len(correction.id)} bytes")
    if len(correction.answer) > MAX_TEXT_CHARS:
        raise _invalid(f"a correction's answer has {len(correction.answer)} characters")
    for word in (correction.teacher, correction.no_answer):
        if word and not _is_word(word):
            raise _invalid("a correction's teacher or reason is no word")
    if not 0.0 <= correction.confidence <= 1.0:  # of no number, too
        raise _invalid(f"a correction's confidence is {correction.confidence}")
    if not 0 <= correction.answered_unix_s <= _MAX_INT:
        raise _invalid("a correction's time is negative or beyond 63 bits")


def check_coded_tokens(tokens: CodedTokens) -> None:
    """Raise `SampleError` unless sizes are within bounds and agree; the payload is not decoded."""
    if len(tokens.payload) > MAX_SAMPLE_BYTES:
        raise SampleError(
            f"payload has {len(tokens.payload)} bytes, at most {MAX_SAMPLE_BYTES} are taken",
            reason=Reason.SAMPLE_TOO_LARGE,
        )
    if not _is_word(tokens.codec):
        raise SampleError("no codec is named", reason=Reason.SAMPLE_CODEC_UNKNOWN)
    grid = tokens.grid
    sizes = (grid.frames, grid.rows, grid.cols)
    if min(sizes) < 1 or max(sizes) > MAX_TOKENS or grid.num_tokens > MAX_TOKENS:
        raise SampleError(
            f"grid {sizes} does not hold 1..{MAX_TOKENS} tokens", reason=Reason.SAMPLE_SHAPE
        )
    if not 1 <= tokens.num_tokens <= grid.num_tokens:
        raise SampleError(
            f"{tokens.num_tokens} tokens kept of {grid.num_tokens}", reason=Reason.SAMPLE_SHAPE
        )
    if not tokens.payload:
        raise SampleError("payload is empty")


def check_regions(regions: Regions, grid: Grid) -> None:
    """Raise `SampleError` unless the sizes can be those of one picture; no JPEG is decoded."""
    if regions.num_bytes > MAX_SAMPLE_BYTES:
        raise SampleError(
            f"regions have {regions.num_bytes} bytes, at most {MAX_SAMPLE_BYTES} are taken",
            reason=Reason.SAMPLE_TOO_LARGE,
        )
    sides = (regions.height, regions.width)
    fits = min(sides) >= 1 and max(sides) <= MAX_PICTURE_SIDE
    if not fits or regions.height * regions.width > MAX_PICTURE_PIXELS:
        raise _bad_picture(f"a picture of {sides[0]} x {sides[1]} pixels is too small or too large")
    if grid.frames != 1 or regions.height < grid.rows or regions.width < grid.cols:
        raise _bad_picture(
            f"a picture of {sides[0]} x {sides[1]} pixels has no cells for a grid of "
            f"{grid.frames} x {grid.rows} x {grid.cols}"
        )
    if not regions.crops or bool(regions.thumbnail) is (regions.layout is RegionLayout.WHOLE):
        raise _bad_picture("the parts of the picture are not those of its layout")


def check_policy(policy: SamplingPolicy) -> None:
    """Raise `LinkError` if a number of `policy` is out of its range."""
    shares = {
        "gate_quantile": policy.gate_quantile,
        "token_share": policy.token_share,
        "token_spread": policy.token_spread,
        "token_mass": policy.token_mass,
        "token_floor": policy.token_floor,
        "audit_rate": policy.audit_rate,
        "max_sample_share": policy.max_sample_share,
        "repeat_distance": policy.repeat_distance,
    }
    for name, value in shares.items():
        if not 0.0 <= value <= 1.0:
            raise _invalid(f"policy.{name} is {value}, not in 0..1")
    if policy.token_share == 0.0:
        raise _invalid("policy.token_share is 0: no token would ever be sent")
    if not (math.isfinite(policy.samples_per_hour) and policy.samples_per_hour >= 0):
        raise _invalid(f"policy.samples_per_hour is {policy.samples_per_hour}")
    for name in ("gate_score", "token_scorer", "token_codec"):
        check_word(f"policy.{name}", getattr(policy, name))
    for name in ("revision", "sample_bytes", "day_bytes"):
        check_count(f"policy.{name}", getattr(policy, name))


def check_manifest(manifest: Manifest) -> None:
    """Raise `UpdateError` (manifest_invalid) unless every size and digest is within bounds."""
    if not TENSORS_FORMAT <= manifest.format <= MANIFEST_FORMAT:
        raise _bad_manifest(f"format {manifest.format} is not in 1..{MANIFEST_FORMAT}")
    for name in ("pair", "base_model", "token_space"):
        if not _is_word(getattr(manifest, name)):
            raise _bad_manifest(f"{name} is missing or too long")
    if len(manifest.round_id) > MAX_WORD_CHARS or len(manifest.signature) > MAX_SIGNATURE_BYTES:
        raise _bad_manifest("round_id or signature is too long")
    if len(manifest.ik_head) > MAX_HEAD_BYTES:
        raise _bad_manifest(f"ik_head has {len(manifest.ik_head)} bytes")
    _check_versions(manifest)
    if len(manifest.target_digest) != DIGEST_BYTES or len(manifest.blob_digest) != DIGEST_BYTES:
        raise _bad_manifest(f"target_digest and blob_digest need {DIGEST_BYTES} bytes")
    for name in ("blob_bytes", "raw_bytes"):
        if not 1 <= getattr(manifest, name) <= MAX_RAW_BYTES:
            raise _bad_manifest(f"{name} {getattr(manifest, name)} is not in 1..{MAX_RAW_BYTES}")
    for name in ("created_unix_s", "expires_unix_s", "num_samples"):
        if not 0 <= getattr(manifest, name) <= _MAX_INT:
            raise _bad_manifest(f"{name} is negative or beyond 63 bits")
    if not _are_numbers(manifest.gate):
        raise _bad_manifest("gate holds too many, unnamed or non-finite numbers")
    if manifest.format == STEPS_FORMAT:
        _check_steps(manifest)
    else:
        _check_tensors(manifest)


def _check_steps(manifest: Manifest) -> None:
    """Nothing is named, and nothing is decompressed: the adapter in use bounds what is decoded."""
    if manifest.tensors or manifest.kind is not UpdateKind.DELTA:
        raise _bad_manifest("format 2 is of deltas that name no tensor")
    if manifest.raw_bytes != manifest.blob_bytes:
        raise _bad_manifest(f"{manifest.raw_bytes} raw bytes of {manifest.blob_bytes} as fetched")


def _check_versions(manifest: Manifest) -> None:
    """A delta names its base by version and digest; a full update may leave the base open."""
    base, target = manifest.base_version, manifest.target_version
    if not (0 <= base <= _MAX_INT and 1 <= target <= _MAX_INT):
        raise _bad_manifest(f"versions {base} -> {target}")
    if manifest.kind is UpdateKind.DELTA:
        if target <= base:
            raise _bad_manifest(f"a delta from {base} to {target} does not rise")
        if len(manifest.base_digest) != DIGEST_BYTES:
            raise _bad_manifest(f"base_digest needs {DIGEST_BYTES} bytes")
    elif len(manifest.base_digest) not in (0, DIGEST_BYTES):
        raise _bad_manifest(f"base_digest needs 0 or {DIGEST_BYTES} bytes")


def _check_tensors(manifest: Manifest) -> None:
    """Every tensor lies in the raw blob; together they do not decode to more than the bound."""
    if len(manifest.tensors) > MAX_TENSORS:
        raise _bad_manifest(f"{len(manifest.tensors)} tensors, at most {MAX_TENSORS}")
    num_values = num_bytes = 0
    names: set[str] = set()
    for entry in manifest.tensors:
        num_values += _check_tensor(entry, manifest.raw_bytes)
        num_bytes += entry.length
        names.add(entry.name)
    if len(names) != len(manifest.tensors):
        raise _bad_manifest("two tensors have one name")
    if num_bytes > manifest.raw_bytes or num_values > MAX_RAW_BYTES // 4:
        raise _bad_manifest(f"tensors of {num_bytes} bytes and {num_values} values are too many")


def _check_tensor(entry: TensorEntry, raw_bytes: int) -> int:
    """Number of values of one tensor."""
    if not 1 <= len(entry.name) <= MAX_NAME_CHARS or not _is_word(entry.codec):
        raise _bad_manifest("a tensor lacks a name or codec")
    if len(entry.shape) > MAX_DIMENSIONS or any(size < 1 for size in entry.shape):
        raise _bad_manifest(f"tensor {entry.name} has shape {entry.shape}")
    if entry.offset < 0 or entry.length < 0 or entry.offset + entry.length > raw_bytes:
        raise _bad_manifest(f"tensor {entry.name} lies outside the blob")
    if len(entry.digest) != TENSOR_DIGEST_BYTES:
        raise _bad_manifest(f"tensor {entry.name} needs a digest of {TENSOR_DIGEST_BYTES} bytes")
    return math.prod(entry.shape)


def check_enrolment(enrolment: Enrolment) -> None:
    """Raise `LinkError` unless the device's words are there and bounded."""
    check_device_id(enrolment.device_id)
    for name in ("pair", "token_space", "base_model"):
        check_word(name, getattr(enrolment, name))
    check_count("protocol", enrolment.protocol)
    check_count("adapter_version", enrolment.adapter_version)


def check_report(report: UpdateReport) -> None:
    """Raise `LinkError` unless the report is bounded (the border cuts a long `detail`)."""
    check_count("version", report.version)
    if len(report.reason) > MAX_WORD_CHARS:
        raise _invalid("reason is too long")
    if len(report.numbers) > MAX_REPORT_NUMBERS or not _are_numbers(report.numbers):
        raise _invalid("numbers are too many, unnamed or non-finite")


def check_device_id(device_id: str) -> None:
    """Raise `LinkError` unless `device_id` is 1..128 letters, digits, dots, dashes, underscores."""
    if not _DEVICE_ID.fullmatch(device_id):
        raise _invalid("device_id needs 1..128 letters, digits, dots, dashes or underscores")


def check_word(name: str, value: str) -> None:
    """Raise `LinkError` unless `value` is a short printable text."""
    if not _is_word(value):
        raise _invalid(f"{name} is missing, too long or not printable")


def check_count(name: str, value: int) -> None:
    """Raise `LinkError` unless `value` is in 0..2^63-1."""
    if not 0 <= value <= _MAX_INT:
        raise _invalid(f"{name} is {value}, not a count")


def check_digest(digest: bytes) -> None:
    """Raise `UpdateError` (blob_unknown) unless `digest` can be a sha256."""
    if len(digest) != DIGEST_BYTES:
        raise UpdateError(
            f"a blob is named by {DIGEST_BYTES} bytes, not {len(digest)}",
            reason=Reason.BLOB_UNKNOWN,
        )


def numbers(given: Mapping[str, float]) -> dict[str, float]:
    """Named numbers, if they are not too many."""
    if len(given) > MAX_NUMBERS:
        raise _invalid(f"{len(given)} numbers are too many")
    return dict(given)


def cut(text: str) -> str:
    """The beginning of a text that is for reading only, with nothing that a terminal obeys."""
    return visible(text[:MAX_DETAIL_CHARS])[:MAX_DETAIL_CHARS]


def check_question(text: str) -> None:
    """Raise DataError for a question that nobody can answer, whoever asks it: blank, too long, or
    with characters that neither a tokenizer nor a database takes.
    """
    if problem := _text_problem(text, required=True):
        raise DataError(f"the question {problem}", fix="Ask something about the image.")


def _check_text(name: str, text: str, *, required: bool) -> None:
    if not required and not text:
        return
    if problem := _text_problem(text, required=required):
        raise SampleError(f"{name} {problem}", reason=Reason.SAMPLE_TEXT_INVALID)


def _text_problem(text: str, *, required: bool) -> str:
    """What is wrong with `text`, in words; empty: nothing."""
    if required and not text.strip():
        return "is empty"
    if len(text) > MAX_TEXT_CHARS:
        return f"has {len(text)} characters, at most {MAX_TEXT_CHARS} are taken"
    if not text.isprintable() and _NO_TEXT.search(text):
        return "holds characters that are no text (a NUL byte, or half of a surrogate pair)"
    return ""


def _is_word(text: str) -> bool:
    return 1 <= len(text) <= MAX_WORD_CHARS and text.isprintable()


def _are_numbers(numbers: Mapping[str, float]) -> bool:
    return len(numbers) <= MAX_NUMBERS and all(
        _is_word(name) and math.isfinite(value) for name, value in numbers.items()
    )


def _bad_picture(text: str) -> SampleError:
    return SampleError(text, reason=Reason.SAMPLE_PICTURE_INVALID)


def _invalid(text: str) -> DriftlineError:
    return LinkError(text, reason=Reason.MESSAGE_INVALID)


def _bad_manifest(text: str) -> UpdateError:
    return UpdateError(text, reason=Reason.MANIFEST_INVALID)
