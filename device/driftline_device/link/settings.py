"""What the link may take and how long it may wait, and what it reports of itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from driftline_shared.retry import Backoff


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkSettings:
    """`address` is host:port of the cloud. Sizes in bytes, times in seconds.

    `batch_bytes` leaves room for the envelope below 1 MiB. `ack_timeout_s`: a batch that is not
    answered by then breaks the stream. `idle_s`: an idle stream is closed, so a radio may sleep.
    `poll_s`: how soon a sample is seen when nobody calls `wake`. `fetch_timeout_s` bounds one
    stream of a download, which is resumed as long as each one brings something.
    `dropped_s`: how often, at most, a cloud that serves the pair no longer is asked.
    `owed_s`: how often a stream is opened for the teacher's answers alone.
    `images_may_leave`: without it samples go up without their regions, however old they are.
    """

    address: str
    batch_bytes: int = (1 << 20) - (16 << 10)
    batch_samples: int = 256
    window_bytes: int = 4 << 20
    window_samples: int = 1_024
    call_timeout_s: float = 10.0
    ack_timeout_s: float = 30.0
    idle_s: float = 60.0
    poll_s: float = 0.5
    policy_s: float = 60.0
    fetch_timeout_s: float = 60.0
    fetch_tries: int = 8
    images_may_leave: bool = False
    owed_s: float = 600.0
    dropped_s: float = 3_600.0
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkStats:
    """The link now, and its counts since it was made. Bytes are those of the serialized messages.

    `connected`: enrolled, and the last call went well. `last_error`: the code and text of the last
    failure that is not over; empty where all goes well. `bytes_up`: of samples; `bytes_asked`: of
    questions to the cloud, about updates and policies. `ask_after_s`: how long the cloud, which
    serves a large fleet, wants not to be asked for an update after a question. `update_bytes`: the
    part of `bytes_down` that manifests and their chunks took; the rest are acks and small replies.
    """

    connected: bool
    last_error: str
    bytes_up: int
    bytes_down: int
    update_bytes: int
    num_sent: int
    num_acked: int
    num_refused: int
    num_retried: int
    num_reconnects: int
    num_in_flight: int
    newest_version: int
    bytes_asked: int = 0
    ask_after_s: float = 0.0
