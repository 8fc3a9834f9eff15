"""A device that was let in and sends what no device should."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import grpc
import numpy as np

from driftline_cloud.intake.line import Line
from driftline_proto.v1 import control_pb2_grpc, uplink_pb2_grpc
from driftline_shared.codec.tokens import encode_tokens
from driftline_shared.ids import sample_id_at
from driftline_shared.rpc.channel import open_channel
from driftline_shared.status import Enrolment
from driftline_shared.tokens import Sample, TokenSpace, VisualTokens
from driftline_shared.trust.credentials import Credentials
from driftline_shared.wire import EncodedSample, from_acks, to_batch, to_enrolment

CALL_S = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What the cloud said to one body: `verdict` is empty where the call itself failed."""

    what: str
    sample_id: str
    verdict: str
    reason: str


def push_poison(
    address: str, credentials: Credentials, line: Line, *, seed: int
) -> tuple[Answered, ...]:
    """Send one broken body of each kind, a batch each; what the cloud said."""
    dice = random.Random(seed)
    found: list[Answered] = []
    with open_channel(address, credentials=credentials) as channel:
        enrolment = Enrolment(
            device_id=credentials.identity,
            pair=line.pair,
            token_space=line.token_space.digest,
            base_model=line.base_model,
            adapter_version=0,
        )
        try:
            control_pb2_grpc.ControlStub(channel).Enrol(to_enrolment(enrolment), timeout=CALL_S)
        except grpc.RpcError as error:
            return (Answered(what="enrol", sample_id="", verdict="", reason=_said(error)),)
        stub = uplink_pb2_grpc.UplinkStub(channel)
        for what, sample_id, space, body in _bodies(line.token_space, dice):
            batch = to_batch(credentials.identity, space, [body])
            try:
                acks = [
                    ack
                    for reply in stub.Push(iter([batch]), timeout=CALL_S)
                    for ack in from_acks(reply)
                ]
            except grpc.RpcError as error:
                acks = []
                found.append(
                    Answered(what=what, sample_id=sample_id, verdict="", reason=_said(error))
                )
            found += [
                Answered(
                    what=what, sample_id=sample_id, verdict=str(ack.verdict), reason=ack.reason
                )
                for ack in acks
            ]
    return tuple(found)


def _bodies(space: TokenSpace, dice: random.Random) -> Sequence[tuple[str, str, str, bytes]]:
    """(what it is, id, token space, body): none is a sample that a cloud may keep."""
    sound = _sound(space, dice)
    body, own = EncodedSample.of(sound).body, sound.id.hex()
    cut = replace(sound.tokens, payload=sound.tokens.payload[:-3])
    wide = replace(sound.tokens, grid=replace(sound.tokens.grid, rows=200, cols=200))
    unknown = replace(sound.tokens, codec="pickle")
    return [
        ("random bytes", "", space.digest, dice.randbytes(200)),
        ("nothing", "", space.digest, b""),
        ("half of a sample", own, space.digest, body[: len(body) // 2]),
        ("another token space", own, "0" * 64, body),
        ("tokens that are cut", own, space.digest, _body(replace(sound, tokens=cut))),
        ("a grid that no model has", own, space.digest, _body(replace(sound, tokens=wide))),
        ("a codec that is none", own, space.digest, _body(replace(sound, tokens=unknown))),
    ]


def _body(sample: Sample) -> bytes:
    return EncodedSample.of(sample).body


def _sound(space: TokenSpace, dice: random.Random) -> Sample:
    rng = np.random.default_rng(dice.randrange(1 << 30))
    num = max(1, space.grid.num_tokens // 2)
    tokens = VisualTokens(
        values=rng.uniform(-1, 1, (num, len(space.low))).astype(np.float32),
        positions=np.sort(rng.permutation(space.grid.num_tokens)[:num]).astype(np.int32),
        grid=space.grid,
    )
    return Sample(
        id=sample_id_at(1_700_000_000, dice.randbytes),
        question="what is it?",
        answer="poison",
        tokens=encode_tokens(tokens, space, "int8"),
        scores={"entropy": 0.9},
        created_unix_s=1_700_000_000,
        adapter_version=0,
    )


def _said(error: grpc.RpcError) -> str:
    return f"{error.code().name}: {error.details()}"[:200]
