"""One Ray cluster of this machine for all tests that break nothing: a start costs many seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from driftline_cloud.workers.cluster.connection import Connection, quiet


@pytest.fixture(scope="package")
def one_cluster() -> Iterator[None]:
    """Started as a cloud without an address starts it, with one GPU more, which nobody looks at.

    Who joins it by an address of its own must leave it first: it ends before such a test.
    """
    os.environ["RAY_OVERRIDE_RESOURCES"] = '{"GPU": 1}'
    connection = Connection(None, None)
    try:
        with quiet():
            connection.open()
    finally:
        del os.environ["RAY_OVERRIDE_RESOURCES"]
    yield
    with quiet():
        connection.close()
