"""kill -9 of PostgreSQL in every state of a round: nothing is lost, nothing is there twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftline_cloud.rounds.round import Round
from driftline_cloud.service.cloud import Cloud
from driftline_shared.host.clock import SystemClock
from driftline_shared.status import Enrolment, SampleVerdict
from driftline_shared.wire import EncodedSample
from tests.fakes.cloud import ReckoningWorkers, make_sample
from tests.fakes.postgres import Postgres, postgres_server
from tests.fakes.rounds import SETTINGS, open_cloud, released_files, run_rounds, send

pytestmark = pytest.mark.integration

WORKING = ("snapshot", "labelling", "distilling", "gating", "compressing", "releasing")
TIMEOUT_S = 120.0


@pytest.fixture
def server() -> Iterator[Postgres]:
    with postgres_server() as found:
        yield found


def test_a_round_ends_as_if_the_database_had_never_gone(tmp_path: Path, server: Postgres) -> None:
    calm = open_cloud(tmp_path / "calm", ReckoningWorkers(), SystemClock())
    send(calm, range(40))
    run_rounds(calm)
    undisturbed = _contents(tmp_path / "calm")
    calm.close()

    killed: list[str] = []
    verdicts: list[SampleVerdict] = []
    starting: list[threading.Thread] = []

    def watch(event: str, round_: Round) -> None:
        state = str(round_.state)
        if event != "worked" or state in killed:
            return
        for thread in starting:
            thread.join(TIMEOUT_S)
        server.kill()
        killed.append(state)
        verdicts.extend(_push(cloud, 100 + len(killed)))  # a device goes on sending
        starting.append(threading.Thread(target=server.start))
        starting[-1].start()

    settings = SETTINGS.model_copy(update={"poll_s": 0.02})
    cloud = open_cloud(
        tmp_path / "state",
        ReckoningWorkers(),
        SystemClock(),
        settings=settings,
        watch=watch,
        database_url=server.url,
    )
    _enrol(cloud)
    send(cloud, range(40))
    halt = threading.Event()
    driving = threading.Thread(target=cloud.coordinator.run, args=(halt,), daemon=True)
    driving.start()
    for _ in range(int(TIMEOUT_S / 0.1)):
        if len(killed) == len(WORKING) and _is_done(cloud):
            break
        assert driving.is_alive()
        threading.Event().wait(0.1)
    halt.set()
    driving.join(TIMEOUT_S)
    assert killed == list(WORKING)
    assert verdicts == [SampleVerdict.RETRY] * len(WORKING)
    (round_,) = cloud.ledger.newest(cloud.line.id, limit=10)
    assert (str(round_.state), round_.num_errors) == ("done", 0)
    assert _contents(tmp_path / "state") == undisturbed
    for number in range(len(WORKING)):  # the device sends again, twice
        assert _push(cloud, 101 + number) == [SampleVerdict.STORED]
        assert _push(cloud, 101 + number) == [SampleVerdict.DUPLICATE]
    counts = cloud.store.counts(cloud.line.id)
    assert (counts.num_samples, counts.num_waiting) == (40 + len(WORKING), len(WORKING))
    cloud.close()


def _enrol(cloud: Cloud) -> None:
    cloud.devices.enrol(
        Enrolment(
            device_id="d1",
            pair=cloud.line.pair,
            token_space=cloud.line.token_space.digest,
            base_model=cloud.line.base_model,
            adapter_version=0,
        ),
        cloud.line.id,
        now_unix_s=1_700_000_000,
    )


def _push(cloud: Cloud, number: int) -> list[SampleVerdict]:
    space = cloud.line.token_space
    body = EncodedSample.of(make_sample(number, space)).body
    return [ack.verdict for ack in cloud.intake.take("d1", space.digest, [body])]


def _contents(folder: Path) -> dict[str, bytes]:
    """What was released, but for the manifest, which has the time in it."""
    return {name: data for name, data in released_files(folder).items() if "/1.json" not in name}


def _is_done(cloud: Cloud) -> bool:
    try:
        return [str(one.state) for one in cloud.ledger.newest(cloud.line.id)] == ["done"]
    except Exception:  # it is away just now
        return False
