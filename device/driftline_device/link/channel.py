"""The gRPC channel to the cloud, which may be opened anew beneath those who use it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from driftline_shared.rpc import channel
from driftline_shared.trust.credentials import Credentials

_OPTIONS: list[tuple[str, int | str]] = [
    # A dead path is noticed within keepalive_time + timeout even if nothing is being sent.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Our own backoff decides when to try: gRPC's must not stretch it to its default of two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # One device in one process: sharing connections between channels would share their backoff.
    ("grpc.use_local_subchannel_pool", 1),
    # Our resend is by sample id and by offset; a hidden second send would only double bytes.
    ("grpc.enable_retries", 0),
]


def open_channel(address: str, credentials: Credentials | None = None) -> grpc.Channel:
    """A channel to `address` (host:port), with TLS where there are credentials; it connects at the
    first call.

    Message sizes stay at gRPC's default of 4 MiB: whatever is larger is chunked.
    """
    return channel.open_channel(address, _OPTIONS, credentials=credentials)


class RenewableChannel(grpc.Channel):
    """A channel whose calls go over the newest one of those it opened.

    gRPC for Python cannot change the certificate of a channel (grpc issue 41779), so a new one is
    opened; what runs on the one before goes on there until the next change.

    Once it is closed, whoever wants to call gets ValueError, as from a call over a closed channel
    of gRPC's own. To prepare a call on one of those ends the process (grpcio 1.85: the handle of a
    registered method is taken from what was freed), and another thread may close at any moment;
    so calls are prepared, and channels closed, one at a time.
    """

    def __init__(self, open_: Callable[[], grpc.Channel]) -> None:
        self._open, self._lock = open_, threading.Lock()
        self._now = open_()
        self._before: grpc.Channel | None = None
        self._closed = False

    def renew(self) -> None:
        """Open another channel; calls from now on go over it."""
        new = self._open()
        with self._lock:
            if self._closed:
                new.close()
                return
            ended, self._before, self._now = self._before, self._now, new
            if ended is not None:
                ended.close()

    def close(self) -> None:
        """End all calls."""
        with self._lock:
            self._closed = True
            for one in (self._now, self._before):
                if one is not None:
                    one.close()

    @contextmanager
    def _open_one(self) -> Iterator[grpc.Channel]:
        """The newest channel, which nobody closes meanwhile; ValueError once all are closed."""
        with self._lock:
            if self._closed:
                raise ValueError("Cannot invoke RPC on closed channel!")
            yield self._now

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        with self._open_one() as channel:
            return channel.unary_unary(*args, **kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        with self._open_one() as channel:
            return channel.unary_stream(*args, **kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        with self._open_one() as channel:
            return channel.stream_unary(*args, **kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        with self._open_one() as channel:
            return channel.stream_stream(*args, **kwargs)

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        with self._open_one() as channel:
            channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        with self._open_one() as channel:
            channel.unsubscribe(callback)

    def __enter__(self) -> RenewableChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
