"""What crosses the network, in both directions."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from driftline_lab.bench.fuzz.formats.material import (
    BASE,
    GRID,
    KEPT,
    good_manifests,
    good_regions,
    good_samples,
    good_steps,
    good_tokens,
    space,
)
from driftline_lab.bench.fuzz.formats.target import Target
from driftline_lab.peers import readers
from driftline_shared.codec.entropy import pack_segments, unpack_segments
from driftline_shared.codec.regions import compose
from driftline_shared.codec.tokens import check_tokens, decode_tokens
from driftline_shared.errors import DriftlineError, Reason
from driftline_shared.status import (
    Enrolment,
    SampleAck,
    SampleVerdict,
    UpdateOutcome,
    UpdateReport,
)
from driftline_shared.tokens import RegionLayout, SamplingPolicy
from driftline_shared.update import TensorEntry
from driftline_shared.update_apply import decode_steps, decode_update
from driftline_shared.wire import EncodedSample, dump_sample

_WIRE = ("driftline_shared.wire", "driftline_shared.bounds")


def on_the_wire() -> dict[str, Target]:
    """By name."""
    from google.protobuf.message import DecodeError

    refusals = (DriftlineError, DecodeError)
    manifests = good_manifests()
    tokens, regions = good_tokens(), good_regions()
    return {
        "manifest": Target(
            corpus=tuple(readers.manifest_bytes(each) for each, _ in manifests),
            read=readers.read_manifest,
            refusals=refusals,
            modules=(*_WIRE, "driftline_shared.update"),
        ),
        "update": Target(
            corpus=tuple(
                bytes([number]) + unpack_segments(blob, manifest.raw_bytes)
                for number, (manifest, blob) in enumerate(manifests)
            ),
            read=_update,
            refusals=(DriftlineError,),
            modules=("driftline_shared.update_apply", "driftline_shared.codec"),
        ),
        "packed": Target(
            corpus=tuple(bytes([number]) + blob for number, (_, blob) in enumerate(manifests)),
            read=_packed,
            refusals=(DriftlineError,),
            modules=("driftline_shared.codec.entropy",),
        ),
        "steps": Target(
            corpus=(good_steps(),),
            read=lambda blob: decode_steps(BASE, blob),
            refusals=(DriftlineError,),
            modules=("driftline_shared.update_apply", "driftline_shared.codec.steps"),
        ),
        "tokens": Target(
            corpus=tuple(bytes([number]) + one.payload for number, one in enumerate(tokens)),
            read=_tokens,
            refusals=(DriftlineError,),
            modules=("driftline_shared.codec",),
        ),
        "sample": Target(
            corpus=tuple(dump_sample(one) for one in good_samples()),
            read=EncodedSample.read,
            refusals=(DriftlineError,),
            modules=(*_WIRE, "driftline_shared.tokens"),
        ),
        "regions": Target(
            corpus=tuple(
                len(one.thumbnail).to_bytes(4, "big") + one.thumbnail + one.crops for one in regions
            ),
            read=_regions,
            refusals=(DriftlineError,),
            modules=("driftline_shared.codec.regions", "driftline_shared.bounds"),
        ),
        "policy": Target(
            corpus=(
                readers.policy_bytes(SamplingPolicy()),
                readers.policy_bytes(
                    replace(SamplingPolicy(), revision=3, gate_quantile=0.5, token_codec="int4")
                ),
            ),
            read=readers.read_policy,
            refusals=refusals,
            modules=_WIRE,
        ),
        "enrolment": Target(
            corpus=(
                readers.enrolment_bytes(
                    Enrolment(
                        device_id="device-1",
                        pair="tiny",
                        token_space="0" * 64,
                        base_model="1" * 64,
                        adapter_version=3,
                    )
                ),
            ),
            read=readers.read_enrolment,
            refusals=refusals,
            modules=_WIRE,
        ),
        "report": Target(
            corpus=(
                readers.report_bytes(
                    UpdateReport(
                        version=3,
                        outcome=UpdateOutcome.FAILED,
                        reason=Reason.PROBE_ERROR,
                        detail="layer 3",
                        numbers={"probe_agreement": 0.5},
                    )
                ),
            ),
            read=readers.read_report,
            refusals=refusals,
            modules=_WIRE,
        ),
        "acks": Target(
            corpus=(
                readers.acks_bytes(
                    [
                        SampleAck(id=bytes(16), verdict=SampleVerdict.STORED),
                        SampleAck(id=bytes(range(16)), verdict=SampleVerdict.REFUSED, reason="r"),
                    ]
                ),
            ),
            read=readers.read_acks,
            refusals=refusals,
            modules=_WIRE,
        ),
    }


def _update(data: bytes) -> object:
    """The raw bytes of a blob, as if packed and vouched for: decoders of tensors are reached."""
    manifests = good_manifests()
    manifest, _ = manifests[data[0] % len(manifests) if data else 0]
    raw = data[1:]
    entries = tuple(
        replace(entry, digest=hashlib.sha256(_part(raw, entry)).digest()[:8])
        for entry in manifest.tensors
    )
    return decode_update(BASE, manifest.kind, entries, pack_segments([raw]), len(raw))


def _part(raw: bytes, entry: TensorEntry) -> bytes:
    return raw[entry.offset : entry.offset + entry.length]


def _packed(data: bytes) -> object:
    """A blob as it was fetched: what unpacks it is reached."""
    manifests = good_manifests()
    manifest, _ = manifests[data[0] % len(manifests) if data else 0]
    return unpack_segments(data[1:], manifest.raw_bytes)


def _tokens(data: bytes) -> object:
    tokens = good_tokens()
    one = replace(tokens[data[0] % len(tokens) if data else 0], payload=data[1:])
    check_tokens(one, space())
    return decode_tokens(one, space())


def _regions(data: bytes) -> object:
    length = int.from_bytes(data[:4], "big")
    whole, mosaic = good_regions()[1], good_regions()[0]
    if length == 0:
        one = replace(whole, crops=data[4:], layout=RegionLayout.WHOLE)
    else:
        one = replace(mosaic, thumbnail=data[4 : 4 + length], crops=data[4 + length :])
    return compose(one, KEPT, GRID)
