"""Samples, their tokens, batches and acks as messages."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from driftline_proto.v1 import uplink_pb2
from driftline_shared import bounds
from driftline_shared.errors import LinkError, Reason, SampleError
from driftline_shared.status import Correction, SampleAck, SampleVerdict
from driftline_shared.tokens import CodedTokens, Grid, RegionLayout, Regions, Sample
from driftline_shared.wire.fields import to_message, to_value

_VERDICTS = {
    SampleVerdict.STORED: uplink_pb2.SAMPLE_VERDICT_STORED,
    SampleVerdict.DUPLICATE: uplink_pb2.SAMPLE_VERDICT_DUPLICATE,
    SampleVerdict.REFUSED: uplink_pb2.SAMPLE_VERDICT_REFUSED,
    SampleVerdict.RETRY: uplink_pb2.SAMPLE_VERDICT_RETRY,
}
_VERDICTS_BACK = {number: verdict for verdict, number in _VERDICTS.items()}

_LAYOUTS = {
    RegionLayout.MOSAIC: uplink_pb2.REGION_LAYOUT_MOSAIC,
    RegionLayout.WHOLE: uplink_pb2.REGION_LAYOUT_WHOLE,
}
_LAYOUTS_BACK = {number: layout for layout, number in _LAYOUTS.items()}


def to_coded_tokens(tokens: CodedTokens) -> uplink_pb2.CodedTokens:
    """Coded tokens with the crc32 of their payload."""
    bounds.check_coded_tokens(tokens)
    return uplink_pb2.CodedTokens(
        codec=tokens.codec,
        num_tokens=tokens.num_tokens,
        frames=tokens.grid.frames,
        rows=tokens.grid.rows,
        cols=tokens.grid.cols,
        payload=tokens.payload,
        crc32=zlib.crc32(tokens.payload),
    )


def from_coded_tokens(message: uplink_pb2.CodedTokens) -> CodedTokens:
    """Coded tokens whose payload is whole; decoding them is the codec's work."""
    tokens = _coded_tokens(message)
    bounds.check_coded_tokens(tokens)
    _check_payload(tokens.payload, message)
    return tokens


def _coded_tokens(message: uplink_pb2.CodedTokens) -> CodedTokens:
    return CodedTokens(
        codec=message.codec,
        num_tokens=message.num_tokens,
        grid=Grid(frames=message.frames, rows=message.rows, cols=message.cols),
        payload=message.payload,
    )


def _check_payload(payload: bytes, message: uplink_pb2.CodedTokens) -> None:
    if zlib.crc32(payload) != message.crc32:
        raise SampleError("crc32 of the payload differs")


def to_regions(regions: Regions) -> uplink_pb2.Regions:
    """Regions with the crc32 of their pictures; `to_sample` checks them against the grid."""
    return uplink_pb2.Regions(
        layout=_LAYOUTS[regions.layout],
        height=regions.height,
        width=regions.width,
        thumbnail=regions.thumbnail,
        crops=regions.crops,
        crc32=_crc32(regions),
    )


def from_regions(message: uplink_pb2.Regions) -> Regions:
    """Regions whose bytes are whole; `from_sample` checks them, decoding is the codec's work."""
    layout = _LAYOUTS_BACK.get(message.layout)
    if layout is None:
        raise SampleError(
            f"layout {message.layout} of regions is not known here",
            reason=Reason.SAMPLE_PICTURE_INVALID,
        )
    regions = Regions(
        layout=layout,
        height=message.height,
        width=message.width,
        thumbnail=message.thumbnail,
        crops=message.crops,
    )
    if _crc32(regions) != message.crc32:
        raise SampleError("crc32 of the regions differs")
    return regions


def _crc32(regions: Regions) -> int:
    return zlib.crc32(regions.crops, zlib.crc32(regions.thumbnail))


def to_sample(sample: Sample) -> uplink_pb2.Sample:
    """A sample as it travels; `priority` stays on the device, scores are rounded to float32."""
    bounds.check_sample(sample)
    return uplink_pb2.Sample(
        id=sample.id,
        question=sample.question,
        answer=sample.answer,
        tokens=to_coded_tokens(sample.tokens),
        scores=sample.scores,
        created_unix_s=sample.created_unix_s,
        adapter_version=sample.adapter_version,
        audit=sample.audit,
        regions=None if sample.regions is None else to_regions(sample.regions),
        owner_answer=sample.owner_answer,
        wants_answer=sample.wants_answer,
    )


def from_sample(message: uplink_pb2.Sample, *, priority: float = 0.0) -> Sample:
    """A checked sample; `priority` is what the device's own store knows beside the message."""
    if len(message.id) != bounds.SAMPLE_ID_BYTES:
        raise SampleError(
            f"sample id has {len(message.id)} bytes, not {bounds.SAMPLE_ID_BYTES}",
            reason=Reason.SAMPLE_ID_INVALID,
        )
    if not message.HasField("tokens"):
        raise SampleError("sample holds no tokens")
    coded, scores = message.tokens, message.scores
    if len(scores) > bounds.MAX_SCORES:
        raise SampleError(f"{len(scores)} scores, at most {bounds.MAX_SCORES} are read")
    sample = Sample(
        id=message.id,
        question=message.question,
        answer=message.answer,
        tokens=_coded_tokens(coded),
        scores=dict(scores),
        priority=priority,
        created_unix_s=message.created_unix_s,
        adapter_version=message.adapter_version,
        audit=message.audit,
        regions=from_regions(message.regions) if message.HasField("regions") else None,
        owner_answer=message.owner_answer,
        wants_answer=message.wants_answer,
    )
    bounds.check_sample(sample)
    _check_payload(sample.tokens.payload, coded)
    return sample


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedSample:
    """A sample with its wire message, serialised once: what is weighed, stored and sent."""

    sample: Sample
    body: bytes

    @property
    def id(self) -> bytes:
        return self.sample.id

    @classmethod
    def of(cls, sample: Sample) -> EncodedSample:
        """Serialise `sample`; `SampleError` if no cloud could take it."""
        return cls(sample=sample, body=dump_sample(sample))

    @classmethod
    def read(cls, body: bytes, *, priority: float = 0.0) -> EncodedSample:
        """Check the bytes of a sample and keep them; `SampleError` if they do not decode."""
        return cls(sample=load_sample(body, priority=priority), body=body)

    def without_regions(self) -> EncodedSample:
        """The same sample without parts of its image; serialised anew only if it has any."""
        if self.sample.regions is None:
            return self
        return EncodedSample.of(replace(self.sample, regions=None))


def dump_sample(sample: Sample) -> bytes:
    """The wire message of a sample, serialised; `SampleError` if no cloud could take it."""
    return to_sample(sample).SerializeToString(deterministic=True)


def load_sample(body: bytes, *, priority: float = 0.0) -> Sample:
    """A sample from its wire message, serialised; `SampleError` if the bytes do not decode."""
    if len(body) > bounds.MAX_BATCH_BYTES:
        raise SampleError(f"{len(body)} bytes are no sample", reason=Reason.SAMPLE_TOO_LARGE)
    message = uplink_pb2.Sample()
    try:
        message.ParseFromString(body)
    except Exception as error:  # DecodeError, whose class differs between protobuf back ends
        raise SampleError("the bytes are no sample message") from error
    return from_sample(message, priority=priority)


def sample_id(body: bytes) -> bytes:
    """The id in bytes that are no good sample; empty where they do not even parse."""
    try:
        return uplink_pb2.Sample.FromString(body).id
    except Exception:  # DecodeError, as above
        return b""


def to_batch(
    device_id: str, token_space: str, bodies: Iterable[bytes], *, seen: Iterable[bytes] = ()
) -> uplink_pb2.EncodedBatch:
    """One batch of serialised samples, and the ids of corrections that need not come again."""
    return uplink_pb2.EncodedBatch(
        device_id=device_id, token_space=token_space, samples=bodies, corrections_seen=seen
    )


def from_seen(message: uplink_pb2.EncodedBatch) -> list[bytes]:
    """The ids of corrections that the device has acted upon; what can be no id is left out."""
    return [
        one
        for one in message.corrections_seen[: bounds.MAX_CORRECTIONS]
        if len(one) == bounds.SAMPLE_ID_BYTES
    ]


def to_ack(ack: SampleAck) -> uplink_pb2.SampleAck:
    """One ack; a long detail is cut."""
    return uplink_pb2.SampleAck(
        id=ack.id[: bounds.MAX_WORD_CHARS],
        verdict=_VERDICTS[ack.verdict],
        reason=ack.reason,
        detail=bounds.cut(ack.detail) if ack.detail else "",
        answer_follows=ack.answer_follows,
        no_answer=ack.no_answer,
    )


def from_ack(message: uplink_pb2.SampleAck) -> SampleAck:
    """One ack; a verdict we do not know is a protocol mismatch, not a guess."""
    verdict = _VERDICTS_BACK.get(message.verdict)
    if verdict is None:
        raise LinkError(
            f"verdict {message.verdict} is not known here", reason=Reason.PROTOCOL_MISMATCH
        )
    # The id is not checked: the cloud names a sample by the very bytes that were sent, good or bad.
    return SampleAck(
        id=message.id[: bounds.MAX_WORD_CHARS],
        verdict=verdict,
        reason=message.reason[: bounds.MAX_WORD_CHARS],
        detail=bounds.cut(message.detail),
        answer_follows=message.answer_follows,
        no_answer=message.no_answer[: bounds.MAX_WORD_CHARS],
    )


def to_correction(correction: Correction) -> uplink_pb2.Correction:
    """One correction; `LinkError` if no device could take it."""
    bounds.check_correction(correction)
    return to_message(uplink_pb2.Correction, correction)


def from_correction(message: uplink_pb2.Correction) -> Correction:
    """One checked correction; `LinkError` for one that makes no sense."""
    correction = to_value(Correction, message)
    bounds.check_correction(correction)
    return correction


def to_acks(
    acks: Iterable[SampleAck], corrections: Iterable[Correction] = ()
) -> uplink_pb2.SampleAcks:
    """One message of acks, and of corrections that are due."""
    return uplink_pb2.SampleAcks(
        acks=[to_ack(ack) for ack in acks],
        corrections=[to_correction(correction) for correction in corrections],
    )


def from_acks(message: uplink_pb2.SampleAcks) -> list[SampleAck]:
    """The acks of one message."""
    return [from_ack(ack) for ack in message.acks]


def from_corrections(message: uplink_pb2.SampleAcks) -> tuple[list[Correction], list[bytes]]:
    """The corrections of one message, and the ids of those that make no sense."""
    good, bad = [], []
    for each in message.corrections[: bounds.MAX_CORRECTIONS]:
        try:
            good.append(from_correction(each))
        except LinkError:
            bad.append(each.id[: bounds.MAX_WORD_CHARS])
    return good, bad
