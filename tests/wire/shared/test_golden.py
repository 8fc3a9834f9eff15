"""Bytes written once decode for ever, and field numbers keep their meaning."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from driftline_proto.v1 import uplink_pb2
from driftline_shared.status import SampleVerdict
from driftline_shared.update import UpdateKind
from driftline_shared.wire import dump_sample
from tests.wire.shared.values import GOLDEN
from tests.wire.shared.write_golden import FIELDS, FOLDER, describe


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_golden_bytes_decode(name: str) -> None:
    golden = GOLDEN[name]
    message = golden.message.FromString((FOLDER / f"{name}.bin").read_bytes())
    assert golden.back(message) == golden.value


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_golden_bytes_are_written_again(name: str) -> None:
    golden = GOLDEN[name]
    written = golden.to(golden.value).SerializeToString(deterministic=True)
    assert written == (FOLDER / f"{name}.bin").read_bytes()


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_every_field_of_the_message_is_set(name: str) -> None:
    """Or the bytes would prove nothing about it. Zero is a value of its own only in enums.

    What was added later is set in bytes of its own: older bytes stay as they left.
    """
    message = GOLDEN[name].message.FromString((FOLDER / f"{name}.bin").read_bytes())
    unset = {field.name for field in message.DESCRIPTOR.fields} - {
        field.name for field, _ in message.ListFields()
    }
    later = {"sample": {"regions"}}.get(name, set())
    assert unset <= {"signature"} | later  # no signature until updates are signed


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_unknown_fields_are_tolerated(name: str) -> None:
    golden = GOLDEN[name]
    later = (FOLDER / f"{name}.bin").read_bytes() + b"\xfa\x3f\x03new"  # field 1023, three bytes
    assert golden.back(golden.message.FromString(later)) == golden.value


def test_an_encoded_batch_is_the_same_bytes() -> None:
    whole = (FOLDER / "sample_batch.bin").read_bytes()
    batch = uplink_pb2.EncodedBatch.FromString(whole)
    assert list(batch.samples) == [dump_sample(sample) for sample in GOLDEN["sample_batch"].value]
    assert batch.SerializeToString() == whole


def test_no_golden_bytes_are_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.bin")} == set(GOLDEN)


def test_field_numbers_keep_their_meaning() -> None:
    assert describe() == json.loads(FIELDS.read_text()), (
        "a field was added (run tests.wire.shared.write_golden), or one was changed (do not)"
    )


def test_every_verdict_and_kind_travels() -> None:
    verdicts = {ack.verdict for ack in GOLDEN["sample_acks"].value}
    kinds = {GOLDEN[name].value.kind for name in ("manifest_delta", "manifest_full")}
    assert verdicts == set(SampleVerdict)
    assert kinds == set(UpdateKind)


def test_values_differ_from_their_defaults() -> None:
    def visit(value: Any) -> None:
        for field in fields(value):
            found = getattr(value, field.name)
            if is_dataclass(found):
                visit(found)
            elif field.name not in {"priority", "signature", "format", "protocol", "regions"}:
                assert found != field.default, f"{type(value).__name__}.{field.name}"

    names = ("sample", "regions", "policy", "enrolment", "manifest_delta", "chunk", "blob_request")
    for name in names:
        visit(GOLDEN[name].value)
