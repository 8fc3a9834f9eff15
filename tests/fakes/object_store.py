"""S3 as moto serves it, on loopback; it keeps what it has while it is away."""

from __future__ import annotations

import logging
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass(kw_only=True)
class FakeS3:
    """A bucket at `url`; `stop` and `start`: the store goes away and comes back."""

    port: int
    url: str = field(default_factory=lambda: f"s3://artifacts/{uuid.uuid4().hex[:8]}")
    _server: Any = None

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
        self._server = None


@contextmanager
def running_s3() -> Iterator[FakeS3]:
    """A store, with credentials and endpoint in the environment, as an operator sets them."""
    for name in ("moto", "s3fs", "flask_cors"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.setenv("AWS_ENDPOINT_URL", endpoint)
        store = FakeS3(port=port)
        store.start()
        try:
            import boto3

            client = boto3.client("s3")
            client.create_bucket(Bucket="artifacts")
            client.close()
            yield store
        finally:
            store.stop()
