"""Almost right requests are answered or refused, never a fault of ours: no status is 500.

`DRIFTLINE_MUTATIONS=10000 pytest ...` tries more, from a seed of `DRIFTLINE_MUTATION_SEED`.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.fakes.api_device import Running, TalkingRuntime, request, running_device
from tests.fakes.mutated_requests import mutated_request

pytestmark = pytest.mark.integration

NUM = int(os.environ.get("DRIFTLINE_MUTATIONS", "200"))
SEED = int(os.environ.get("DRIFTLINE_MUTATION_SEED", "0"))

EXPECTED = {0, 200, 204, 303, 307, 400, 403, 404, 405, 408, 413, 415, 422, 429}
"""0: the reply to a request without an end, or to HEAD, is none."""


@pytest.fixture
def device(tmp_path: Path, pair_dir: Path) -> Iterator[Running]:
    quick = {"api.header_timeout_s": 0.1, "api.body_timeout_s": 0.1}
    with running_device(tmp_path / "state", pair_dir, TalkingRuntime(), **quick) as running:
        yield running


def status_of(port: int, data: bytes) -> int:
    """Of the reply to `data`; 0 if there is none."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30.0) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            while not is_whole(said) and (chunk := connection.recv(1 << 16)):
                said += chunk
    said = said.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    # The body of a stream may end in an error, too.
    fault = b'"server_error"' in said and b" 503 " not in said[:20]
    return 500 if fault else int(said.split(b" ", 2)[1] or 0) if said else 0


def is_whole(said: bytes) -> bool:
    """Whether all of a reply is here; a connection may stay open behind it."""
    head, separator, body = said.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        return is_whole(body)
    if not separator:
        return False
    length = re.search(rb"content-length: (\d+)", head)
    return len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")


def test_no_request_is_a_fault_of_ours(device: Running) -> None:
    dice = random.Random(SEED)
    seen: Counter[int] = Counter()
    faults: list[bytes] = []
    with capture_logs() as lines:
        for _ in range(NUM):
            data = mutated_request(dice)
            status = status_of(device.port, data)
            seen[status] += 1
            if status == 500:
                faults.append(data)
        assert device.ask(request())[0] == 200
    assert not faults, faults[:3]
    assert [line for line in lines if line["log_level"] in ("error", "critical")] == []
    assert set(seen) <= EXPECTED, seen
    # They are not all refused at the door.
    assert seen[200] > NUM // 50 and seen[400] > NUM // 50
