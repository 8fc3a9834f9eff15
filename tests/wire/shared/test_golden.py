"""Bytes written once decode for ever, and field numbers keep their meaning."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from driftline_proto.v1 import downlink_pb2, uplink_pb2
from driftline_shared.status import BlobRequest, SampleVerdict
from driftline_shared.tokens import CodedTokens
from driftline_shared.update import UpdateKind
from driftline_shared.wire import dump_sample
from driftline_shared.wire.fields import to_message, to_value
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
    # Nothing is in a manifest's `signature`: what is signed comes beside it.
    assert _unset(message) <= {"signature"} | _later(name)


def _later(name: str) -> set[str]:
    choice = {"token_spread", "token_mass", "token_floor"}
    lines = {"state", "pair", "unknown_bases", "troubles"}
    return {
        "sample": {"regions", "owner_answer", "wants_answer"},
        "sample_batch": {"regions", "owner_answer", "wants_answer", "corrections_seen"},
        "sample_with_regions": {"owner_answer", "wants_answer"},
        "sample_with_owner_answer": {"regions", "wants_answer"},
        "sample_wants_answer": {"regions", "owner_answer"},
        "sample_acks": {"corrections", "answer_follows", "no_answer"},
        "sample_acks_of_answers": {"corrections", "reason", "detail", "no_answer"},
        "correction": {"no_answer"},
        "correction_none": {"answer", "confidence", "teacher", "answered_unix_s"},
        "cloud_status": lines | {"workers", "num_devices", "num_quarantined", "rollout"},
        "cloud_status_workers": lines | {"num_devices", "num_quarantined", "rollout"},
        "cloud_status_of_fleet": lines | {"workers", "rollout"},
        "cloud_status_of_lines": {
            "workers",
            "num_devices",
            "num_quarantined",
            "rollout",
            "troubles",
        },
        "cloud_status_of_troubles": lines - {"troubles"}
        | {"workers", "num_devices", "num_quarantined", "rollout"},
        "cloud_status_of_rollout": lines | {"workers", "num_devices", "num_quarantined"},
        "manifest_delta": {"ik_head"},
        "manifest_full": {"ik_head"},
        "update_query": {"manifest_format", "signed"},
        "update_query_format": {"signed"},
        "policy": choice | {"token_codec_auto", "repeat_distance"},
        "policy_auto": choice | {"repeat_distance"},
        "policy_choice": {"token_codec_auto", "repeat_distance"},
        "welcome": choice | {"token_codec_auto", "repeat_distance"},
    }.get(name, set())


def _unset(message: Any) -> set[str]:
    """Names of fields without a value, also within messages; of repeated ones if unset in all."""
    names = {field.name for field in message.DESCRIPTOR.fields} - {
        field.name for field, _ in message.ListFields()
    }
    for field, value in message.ListFields():
        if field.message_type and not field.message_type.GetOptions().map_entry:
            some = value if field.is_repeated else [value]
            names |= set.intersection(*(_unset(one) for one in some))
    return names


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


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_values_differ_from_their_defaults(name: str) -> None:
    def visit(value: Any) -> None:
        if isinstance(value, list | tuple):
            for one in value[:1]:
                visit(one)
        elif is_dataclass(value):
            for field in fields(value):
                found = getattr(value, field.name)
                visit(found)
                if field.name not in unchanged:
                    assert found != field.default, f"{type(value).__name__}.{field.name}"

    unchanged = {"priority", "signature", "format", "protocol"} | _later(name)
    if name in {"policy_auto", "policy_repeats"}:
        unchanged |= {"token_codec"}  # what it says is the default
    if name == "sample_with_regions":
        unchanged |= {"frames"}  # only a picture has regions
    visit(GOLDEN[name].value)


def test_what_is_given_by_hand_wins_and_a_missing_field_is_an_error() -> None:
    made = to_message(downlink_pb2.FetchRequest, BlobRequest(device_id="d", digest=b"1"))
    assert to_value(BlobRequest, made, device_id="e").device_id == "e"
    with pytest.raises(TypeError, match="grid"):
        to_value(CodedTokens, uplink_pb2.CodedTokens())
