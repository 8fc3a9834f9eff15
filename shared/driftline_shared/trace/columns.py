"""The columns of a trace: name, type and meaning, once. Schema, checksum and document follow it.

A later schema may add columns at the end, never change or remove one.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

SCHEMA = 1
"""Version of the columns and of the manifest."""

CHECKSUM = "crc32"
"""The last column of every part: of all others, see `checksum`."""

ColumnType = Literal["int", "float", "bool", "text", "bytes", "ints", "scores"]


class Column(NamedTuple):
    """`required`: never null."""

    name: str
    type: ColumnType
    meaning: str
    required: bool = False


COLUMNS: tuple[Column, ...] = (
    Column("sequence", "int", "number of the event in its trace, rising; a gap: lost or cut", True),
    Column("kind", "text", "`answer`, `sample`, `update` or `round`", True),
    Column("wall_unix_s", "float", "seconds since 1970", True),
    Column("monotonic_s", "float", "seconds of the recorder's own monotonic clock", True),
    Column("device", "text", "the device's id"),
    Column("segment", "text", "name of the source that was read"),
    Column("domain", "text", "where the image comes from, as far as its source says"),
    Column("sample_id", "text", "hex, 16 bytes, where the answer became a sample"),
    Column("trace_id", "text", "hex, 16 bytes (W3C trace-id): the same on device and cloud"),
    Column("question", "text", "as asked"),
    Column("answer", "text", "what the device's model answered"),
    Column("reference", "text", "the true answer where the source knows it"),
    Column("correct", "bool", "whether answer and reference match exactly"),
    Column("scores", "scores", "list of {kind, score}: uncertainties, higher is less sure", True),
    Column("gate_kind", "text", "which score the gate looked at"),
    Column("uncertainty", "float", "that score"),
    Column("p_value", "float", "its conformal p-value on the pair's source calibration set"),
    Column("uncertain", "bool", "whether it lay over the gate"),
    Column("audit", "bool", "confident, picked by lot all the same"),
    Column("sent", "bool", "whether a sample of it was put into the spool"),
    Column("outcome", "text", "what sampling made of it: `sent`, `confident`, or why not sent"),
    Column("model_s", "float", "seconds the model worked on the batch that held this question"),
    Column("adapter_version", "int", "that answered; of an update: in force after it"),
    Column("policy_revision", "int", "of the sampling policy in force"),
    Column("policy_digest", "text", "hex sha256 of that policy as canonical JSON"),
    Column("grid", "ints", "frames, rows, columns of the image's tokens"),
    Column("kept", "ints", "flat grid positions of the tokens in `coded`, rising"),
    Column("token_codec", "text", "of `coded`: `int8`, `int4`, `klt64` to `klt256`"),
    Column("coded", "bytes", "the sampled tokens exactly as they were sent"),
    Column("sample_bytes", "int", "of the whole sample on the wire"),
    Column("all_codec", "text", "of `all_tokens`: `int8` (as `coded`) or `fp16` (plain)"),
    Column("all_kept", "ints", "positions of `all_tokens` in the grid; null: every place"),
    Column("all_tokens", "bytes", "all tokens the answer was made from, where recorded"),
    Column("verdict", "text", "`sample`: the cloud's word; `update`: `applied`, `failed`, "
           "`rolled_back`; `round`: the state it ended in"),
    Column("reason", "text", "stable code of the verdict"),
    Column("detail", "text", "more of it: a sentence, or JSON (a round's numbers)"),
    Column("from_version", "int", "of an update: in force before"),
    Column("target_digest", "text", "hex sha256 of the adapter that came into force or was made"),
    Column("update_bytes", "int", "of an update: on the wire, with what messages add"),
    Column("round_id", "text", "of a round, and of the update that it made where known"),
    Column("num_samples", "int", "of a round"),
    Column("picture", "bytes", "a JPEG thumbnail, where the owner lets pictures be recorded"),
)  # fmt: skip

NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)
