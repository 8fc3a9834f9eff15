"""A checkpoint as bytes: a first line, a digest of the rest, arrays as safetensors with JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from driftline_cloud.jobs import DistillJob
from driftline_shared.errors import DataError
from driftline_shared.update import adapter_digest
from driftline_shared.wire import dump_sample

FIRST_LINE = b"driftline checkpoint 1\n"

_DIGEST_BYTES = 32
_STATE = "state"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of one training. `job`: `job_digest` of what it trains, in hex. `state`: what JSON
    holds. `arrays`: what it does not.
    """

    job: str
    state: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray[Any, Any]]


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """What `from_bytes` reads."""
    arrays = {name: np.asarray(array, order="C") for name, array in checkpoint.arrays.items()}
    text = json.dumps({"job": checkpoint.job, **checkpoint.state}, sort_keys=True)
    body = save(arrays, metadata={_STATE: text})
    return FIRST_LINE + hashlib.sha256(body).digest() + body


def from_bytes(content: bytes) -> Checkpoint:
    """A checkpoint again. Raises DataError for what is none, or damaged."""
    start = len(FIRST_LINE) + _DIGEST_BYTES
    body = content[start:]
    if not content.startswith(FIRST_LINE):
        raise DataError("it is no checkpoint of this form")
    if hashlib.sha256(body).digest() != content[len(FIRST_LINE) : start]:
        raise DataError("it is damaged: its digest is another")
    try:
        header = int.from_bytes(body[:8], "little")
        state = json.loads(json.loads(body[8 : 8 + header])["__metadata__"][_STATE])
        return Checkpoint(job=state.pop("job"), state=state, arrays=load(body))
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"it cannot be read: {error}") from error


def job_digest(job: DistillJob) -> str:
    """Hex sha256 of all that a training depends on beside the pair's weights, which a round's pair
    does not change: settings, seed, start, samples, labels.
    """
    digest = hashlib.sha256(json.dumps(job.settings, sort_keys=True, default=str).encode())
    digest.update(f"\0{job.seed}\0".encode() + adapter_digest(job.start))
    parts = ((job.samples, job.labels), (job.rehearsal, job.rehearsal_labels))
    for samples, labels in parts:
        digest.update(len(samples).to_bytes(8, "big"))
        for sample, label in zip(samples, labels, strict=True):
            said = json.dumps([label.text, list(label.tokens), label.confidence]).encode()
            for part in (dump_sample(sample), said):
                digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
