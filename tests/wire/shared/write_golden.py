"""Write golden bytes that do not exist yet: `python -m tests.wire.shared.write_golden`.

It never overwrites: bytes that left this project must decode for ever. `fields.json` is the list
of all field numbers; new ones are added to it, and none is ever changed.
"""

from __future__ import annotations

import json
from pathlib import Path

from driftline_proto.v1 import control_pb2, downlink_pb2, uplink_pb2
from tests.wire.shared.values import GOLDEN

FOLDER = Path(__file__).parent / "golden"
FIELDS = FOLDER / "fields.json"


def describe() -> dict[str, dict[str, str]]:
    """Message or enum -> number -> name and type, as the generated code has them."""
    found: dict[str, dict[str, str]] = {}
    for module in (control_pb2, downlink_pb2, uplink_pb2):
        file = module.DESCRIPTOR
        for message in file.message_types_by_name.values():
            found[message.name] = {
                str(field.number): f"{field.name} {_type(field)}" for field in message.fields
            }
        for enum in file.enum_types_by_name.values():
            found[enum.name] = {str(value.number): value.name for value in enum.values}
    return found


def _type(field: object) -> str:
    repeated = "repeated " if field.is_repeated else ""  # type: ignore[attr-defined]
    inner = field.message_type or field.enum_type  # type: ignore[attr-defined]
    return repeated + (inner.name if inner is not None else f"type {field.type}")  # type: ignore[attr-defined]


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, golden in GOLDEN.items():
        path = FOLDER / f"{name}.bin"
        if not path.exists():
            path.write_bytes(golden.to(golden.value).SerializeToString(deterministic=True))
    known = json.loads(FIELDS.read_text()) if FIELDS.exists() else {}
    for name, fields in describe().items():
        known.setdefault(name, {})
        for number, text in fields.items():
            known[name].setdefault(number, text)
    FIELDS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
