"""The teacher's answer to a sample that wants it, as a device gets it over real gRPC."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from driftline_proto.v1 import uplink_pb2
from driftline_shared import wire
from driftline_shared.errors import Reason
from driftline_shared.status import Correction
from driftline_shared.wire import dump_sample
from tests.fakes.cloud import make_sample

from .conftest import TIMEOUT_S, RunningCloud

pytestmark = pytest.mark.integration

Start = Callable[..., RunningCloud]
NO_ROUNDS = {"rounds.trigger.enabled": False}


class Stream:
    """One Push stream that is read and written by hand."""

    def __init__(self, cloud: RunningCloud, device_id: str = "d1") -> None:
        self._cloud = cloud
        self._device_id = device_id
        self._up: queue.Queue[uplink_pb2.EncodedBatch | None] = queue.Queue()
        self._replies = cloud.uplink.Push(iter(self._up.get, None), timeout=TIMEOUT_S)

    def send(self, *numbers: int, wants: bool = True, seen: tuple[bytes, ...] = ()) -> None:
        space = self._cloud.pair.token_space
        samples = [replace(make_sample(number, space), wants_answer=wants) for number in numbers]
        bodies = [dump_sample(sample) for sample in samples]
        self._up.put(wire.to_batch(self._device_id, space.digest, bodies, seen=seen))

    def next(self) -> uplink_pb2.SampleAcks:
        return next(self._replies)

    def corrections(self) -> list[Correction]:
        """Those of the next message that has any."""
        while True:
            good, bad = wire.from_corrections(self.next())
            assert bad == []
            if good:
                return good

    def close(self) -> list[Correction]:
        """End it; the corrections that still came."""
        self._up.put(None)
        return [one for reply in self._replies for one in wire.from_corrections(reply)[0]]


@pytest.fixture
def cloud(start_cloud: Start) -> RunningCloud:
    found = start_cloud(**NO_ROUNDS)
    found.enrol()
    return found


def test_the_answer_comes_on_the_open_stream_and_once_seen_never_again(cloud: RunningCloud) -> None:
    stream = Stream(cloud)
    stream.send(1)
    (ack,) = wire.from_acks(stream.next())
    assert ack.answer_follows
    (found,) = stream.corrections()
    assert (found.id, found.answer) == (ack.id, ack.id.hex()[:4])
    assert found.confidence == pytest.approx(0.9)
    stream.close()
    again = Stream(cloud)  # not seen yet: it comes again
    again.send()
    assert again.corrections() == [found]
    again.send(seen=(found.id,))
    again.next()
    assert again.close() == []
    third = Stream(cloud)
    third.send()
    third.next()
    assert third.close() == []


def test_a_sample_that_wants_nothing_gets_nothing(cloud: RunningCloud) -> None:
    stream = Stream(cloud)
    stream.send(1, wants=False)
    (ack,) = wire.from_acks(stream.next())
    assert (ack.answer_follows, ack.no_answer) == (False, "")
    assert stream.close() == []


def test_a_sample_that_comes_twice_is_answered_once(cloud: RunningCloud) -> None:
    stream = Stream(cloud)
    for _ in range(2):
        stream.send(1)
    acks = [wire.from_acks(stream.next()) for _ in range(1)]
    found = stream.corrections()
    assert len(found) == 1
    assert acks[0][0].answer_follows
    assert stream.close() == []


def test_an_answer_waits_for_its_device_over_a_restart(start_cloud: Start) -> None:
    first = start_cloud(**NO_ROUNDS)
    held = threading.Event()
    first.workers.hook = lambda _what: held.wait(TIMEOUT_S) and None
    first.enrol()
    stream = Stream(first)
    stream.send(1)
    assert wire.from_acks(stream.next())[0].answer_follows
    stream.close()
    held.set()
    first.stop_serving()
    second = start_cloud(**NO_ROUNDS)  # the same state
    again = Stream(second)
    again.send()
    assert [len(one.answer) for one in again.corrections()] == [4]


def test_a_full_cloud_takes_the_sample_and_says_that_no_answer_follows(start_cloud: Start) -> None:
    cloud = start_cloud(**NO_ROUNDS, **{"escalation.max_waiting": 0})
    cloud.enrol()
    stream = Stream(cloud)
    stream.send(1)
    (ack,) = wire.from_acks(stream.next())
    assert (ack.verdict, ack.answer_follows, ack.no_answer) == (
        "stored",
        False,
        Reason.ANSWERS_OFF,
    )
    assert stream.close() == []


@pytest.fixture
def busy_cloud(start_cloud: Start) -> Iterator[RunningCloud]:
    """One whose round distils until the test ends."""
    cloud = start_cloud(**{"rounds.trigger.round_samples": 4, "drain_s": 0.1})
    held = threading.Event()

    def hook(what: str) -> None:
        if what == "distil":
            held.wait(TIMEOUT_S)

    cloud.workers.hook = hook
    cloud.enrol()
    yield cloud
    held.set()


def test_an_answer_does_not_wait_for_a_round_that_distils(busy_cloud: RunningCloud) -> None:
    stream = Stream(busy_cloud)
    stream.send(*range(40), wants=False)
    stream.next()
    while not busy_cloud.workers.num_labelled:
        time.sleep(0.01)
    stream.send(99)
    assert len(stream.corrections()) == 1
    assert busy_cloud.workers.num_distilled == 0
