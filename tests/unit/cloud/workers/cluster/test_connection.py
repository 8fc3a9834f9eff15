"""Whether the cluster that this process is in is still there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from driftline_cloud.workers.cluster import connection
from driftline_cloud.workers.cluster.connection import ASK_S, LOST_S, Connection
from driftline_cloud.workers.workers import WorkersUnreachableError


class Head:
    """A head, as it is seen from outside, and the time."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.listens = True
        self.cluster = "one"
        self.num_asked = 0

    def wait_for_port(self, address: str, *, within_s: float) -> None:
        if not self.listens:
            raise WorkersUnreachableError(f"no Ray cluster answers at {address}")

    def cluster_id(self, _address: str) -> str:
        self.num_asked += 1
        return self.cluster

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Head:
    head = Head()
    monkeypatch.setattr(connection, "wait_for_port", head.wait_for_port)
    monkeypatch.setattr(connection, "cluster_id", head.cluster_id)
    monkeypatch.setattr(connection.time, "monotonic", head.monotonic)
    return head


@pytest.fixture
def look(head: Head) -> Callable[[float], None]:
    """Looks once a second for so long."""
    joined = Connection("head:6379", None)
    joined._head, joined._cluster = "head:6379", "one"

    def look(seconds: float) -> None:
        for _ in range(int(seconds)):
            head.now_s += 1.0
            joined.check()

    return look


def test_a_head_that_answers_is_asked_now_and_then(
    head: Head, look: Callable[[float], None]
) -> None:
    look(60)
    assert 60 / ASK_S - 1 <= head.num_asked <= 60 / ASK_S + 1


def test_a_head_that_is_silent_for_a_moment_is_waited_for(
    head: Head, look: Callable[[float], None]
) -> None:
    head.listens = False
    look(LOST_S - 1)
    head.listens = True
    look(60)
    head.listens = False
    with pytest.raises(WorkersUnreachableError, match="no Ray cluster answers"):
        look(LOST_S + 2)


def test_a_head_that_was_started_anew_is_another_cluster(
    head: Head, look: Callable[[float], None]
) -> None:
    look(10)
    head.listens = False
    look(3)
    head.listens, head.cluster = True, "other"
    with pytest.raises(WorkersUnreachableError, match="started anew"):
        look(1)


def test_a_head_that_listens_and_says_nothing_yet_is_waited_for(
    head: Head, look: Callable[[float], None]
) -> None:
    head.cluster = ""
    look(30)
