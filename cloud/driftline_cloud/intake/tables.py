"""The tables of the cloud's state, as the newest schema has them.

A change comes with a file in `migrations/versions` that brings older databases there, and a higher
`SCHEMA_VERSION`, whose four digits are the file's revision.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

SCHEMA_VERSION = 8

metadata = MetaData()

revision_metadata = MetaData()
revisions = Table(
    "alembic_version",
    revision_metadata,
    Column("version_num", String(32), primary_key=True),
)
"""Where alembic keeps the revision that a database is at."""

# SQLite numbers rows only in a column of type INTEGER; elsewhere a fleet may outgrow 32 bits.
_Sequence = BigInteger().with_variant(Integer, "sqlite")

schema = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("cloud_id", String(64), nullable=False),
    # Of the one state folder whose releases belong to these rounds.
    Column("state_id", String(64), nullable=True),
)

# Who may come in, who asked to, who may no more; see `trust.members`.
members = Table(
    "members",
    metadata,
    Column("identity", String(64), primary_key=True),
    Column("label", String(128), nullable=False),
    Column("role", String(16), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("added_unix_s", BigInteger, nullable=False),
    Column("changed_unix_s", BigInteger, nullable=False),
    Column("not_after_unix_s", BigInteger, nullable=False),
)

# What lets devices in without an operator; see `trust.tokens`.
enrol_tokens = Table(
    "enrol_tokens",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("uses_left", Integer, nullable=False),
    Column("label", String(128), nullable=False),
    Column("made_unix_s", BigInteger, nullable=False),
    Column("expires_unix_s", BigInteger, nullable=False),
)

# What an operator has the cloud serve; see `lines.book`.
lines = Table(
    "lines",
    metadata,
    Column("id", String(192), primary_key=True),
    Column("pair", Text, nullable=False),
    Column("pair_name", String(128), nullable=False),
    Column("base_model", String(128), nullable=False),
    Column("token_space", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("added_unix_s", BigInteger, nullable=False),
    Column("changed_unix_s", BigInteger, nullable=False),
    # Of a group of devices: its name, the line it left, the last version they share.
    Column("group", String(64), nullable=False, server_default=""),
    Column("parent", String(192), nullable=False, server_default=""),
    Column("forked_version", BigInteger, nullable=False, server_default="0"),
    # Devices came from a line that had got so far: the next version's number is higher.
    Column("least_version", BigInteger, nullable=False, server_default="0"),
    # Rises whenever devices come or go, so that who serves looks at them anew.
    Column("num_moves", BigInteger, nullable=False, server_default="0"),
)

# Devices that were turned away, for no line has their base model.
unknown_devices = Table(
    "unknown_devices",
    metadata,
    Column("base_model", String(128), primary_key=True),
    Column("device_id", String(128), primary_key=True),
    Column("pair", String(128), nullable=False),
    Column("last_seen_unix_s", BigInteger, nullable=False),
)

devices = Table(
    "devices",
    metadata,
    Column("device_id", String(128), primary_key=True),
    Column("line", String(192), nullable=False, index=True),
    Column("token_space", String(128), nullable=False),
    Column("base_model", String(128), nullable=False),
    Column("adapter_version", BigInteger, nullable=False),
    Column("enrolled_unix_s", BigInteger, nullable=False),
    Column("last_seen_unix_s", BigInteger, nullable=False),
    Column("last_report", String(256), nullable=False, default=""),
)

usage = Table(
    "usage",
    metadata,
    Column("device_id", String(128), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("num_samples", BigInteger, nullable=False),
    Column("num_bytes", BigInteger, nullable=False),
)

# How many samples a line has, in all (no device) and of each device; kept in the transaction
# that changes a sample's state, so that nobody has to count them.
sample_counts = Table(
    "sample_counts",
    metadata,
    Column("line", String(192), primary_key=True),
    Column("device_id", String(128), primary_key=True),
    Column("num_samples", BigInteger, nullable=False),
    Column("num_waiting", BigInteger, nullable=False),
    Column("num_quarantined", BigInteger, nullable=False),
)

# When a device was last given a full update because its base was another one.
full_grants = Table(
    "full_grants",
    metadata,
    Column("device_id", String(128), primary_key=True),
    Column("granted_unix_s", BigInteger, nullable=False),
    Column("is_open", Integer, nullable=False),
)

samples = Table(
    "samples",
    metadata,
    Column("sequence", _Sequence, primary_key=True, autoincrement=True),
    Column("id", LargeBinary(16), nullable=False, unique=True),
    Column("device_id", String(128), nullable=False),
    Column("line", String(192), nullable=False),
    Column("token_space", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("round_id", String(256), nullable=True, index=True),
    Column("score", Float, nullable=True),
    Column("received_unix_s", BigInteger, nullable=False),
    Column("num_bytes", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("samples_by_state", "line", "state", "sequence"),
    Index("samples_by_device", "line", "state", "device_id", "sequence"),
)

labels = Table(
    "labels",
    metadata,
    Column("sample_id", LargeBinary(16), primary_key=True),
    Column("teacher", String(128), primary_key=True),
    Column("label", JSON, nullable=False),
)

# Samples that want the teacher's answer, and answers on their way to a device.
corrections = Table(
    "corrections",
    metadata,
    Column("sample_id", LargeBinary(16), primary_key=True),
    Column("device_id", String(128), nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("asked_unix_s", BigInteger, nullable=False),
    Column("changed_unix_s", BigInteger, nullable=False),
    Column("answer", Text, nullable=False),
    Column("confidence", Float, nullable=False),
    Column("teacher", String(128), nullable=False),
    Column("reason", String(128), nullable=False),
    Index("corrections_by_state", "state", "asked_unix_s"),
)

# Samples that no round can work on, until an operator decides.
quarantine = Table(
    "quarantine",
    metadata,
    Column("sample_id", LargeBinary(16), primary_key=True),
    Column("line", String(192), nullable=False, index=True),
    Column("device_id", String(128), nullable=False),
    Column("round_id", String(256), nullable=False),
    Column("reason", String(128), nullable=False),
    Column("detail", Text, nullable=False),
    Column("quarantined_unix_s", BigInteger, nullable=False),
)

rounds = Table(
    "rounds",
    metadata,
    Column("id", String(256), primary_key=True),
    Column("line", String(192), nullable=False, index=True),
    # The line while the round is open, NULL afterwards: two open rounds of a line cannot exist.
    Column("open_line", String(192), nullable=True, unique=True),
    Column("number", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("state", String(32), nullable=False),
    Column("num_samples", Integer, nullable=False),
    Column("base_version", BigInteger, nullable=False),
    Column("target_version", BigInteger, nullable=False),
    Column("numbers", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("num_starts", Integer, nullable=False),
    Column("num_errors", Integer, nullable=False),
    Column("created_unix_s", BigInteger, nullable=False),
    Column("changed_unix_s", BigInteger, nullable=False),
    Column("not_before_unix_s", Float, nullable=False),
    Column("trigger", Text, nullable=False, server_default=""),
    Index("rounds_by_number", "line", "number", unique=True),
)

round_samples = Table(
    "round_samples",
    metadata,
    Column("round_id", String(256), ForeignKey("rounds.id"), primary_key=True),
    Column("sample_id", LargeBinary(16), primary_key=True),
    Column("part", String(32), nullable=False),
    Column("place", Integer, nullable=False),
)

reports = Table(
    "reports",
    metadata,
    Column("sequence", _Sequence, primary_key=True, autoincrement=True),
    Column("device_id", String(128), nullable=False, index=True),
    Column("line", String(192), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("reason", String(128), nullable=False),
    Column("detail", Text, nullable=False),
    Column("numbers", JSON, nullable=False),
    Column("received_unix_s", BigInteger, nullable=False),
    Index("reports_by_version", "line", "version", "device_id", "sequence"),
)

policies = Table(
    "policies",
    metadata,
    Column("line", String(192), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("policy", JSON, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("line", String(192), primary_key=True),
    Column("owner", String(192), nullable=False),
    # Rises with every owner: what is saved under an older one is refused.
    Column("token", BigInteger, nullable=False),
    Column("renewed_unix_s", Float, nullable=False),
    Column("expires_unix_s", Float, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("owner", String(192), primary_key=True),
    Column("line", String(192), nullable=False),
    Column("state", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("progress", Float, nullable=False),
    Column("started_unix_s", Float, nullable=False),
    Column("seen_unix_s", Float, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("line", String(192), primary_key=True),
    # One release of a version: a second one, of another worker, is an error of the database.
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("round_id", String(256), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("released_unix_s", BigInteger, nullable=False),
)

# How far each version has got; one that has no row was everyone's before there were rollouts.
rollouts = Table(
    "rollouts",
    metadata,
    Column("line", String(192), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("round_id", String(256), nullable=False),
    Column("state", String(32), nullable=False),
    Column("phase", Integer, nullable=False),
    Column("plan", JSON, nullable=False),
    Column("num_devices", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("restores", BigInteger, nullable=True),
    Column("restore_to", BigInteger, nullable=True),
    Column("followed_by", BigInteger, nullable=True),
    Column("created_unix_s", BigInteger, nullable=False),
    Column("phase_unix_s", BigInteger, nullable=False),
    Column("changed_unix_s", BigInteger, nullable=False),
)

# The devices that a phase may reach; the last phase is everyone and has no rows.
rollout_devices = Table(
    "rollout_devices",
    metadata,
    Column("line", String(192), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("device_id", String(128), primary_key=True),
    Column("phase", Integer, nullable=False),
)

# Who did what to which version, and why; written with what was done.
audit = Table(
    "audit",
    metadata,
    Column("sequence", _Sequence, primary_key=True, autoincrement=True),
    Column("at_unix_s", BigInteger, nullable=False),
    Column("who", String(128), nullable=False),
    Column("action", String(32), nullable=False),
    Column("line", String(192), nullable=False, index=True),
    Column("version", BigInteger, nullable=True),
    Column("detail", Text, nullable=False),
)
