"""What a cloud and a device leave becomes a run: rounds, updates, answers, pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from driftline_cloud.intake.database import Database
from driftline_cloud.intake.devices import Device, DeviceRegister
from driftline_cloud.release.manifests import update_bytes
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_lab.runs.cloud_state import labelled_samples, refusals_of, rounds_of, updates_of
from driftline_lab.runs.device_events import Answered, read_events
from driftline_lab.runs.pictures import choose_answers, draw_pictures
from driftline_lab.runs.run import TimelineRow
from driftline_shared.codec.tokens import decode_tokens
from driftline_shared.errors import DataError
from driftline_shared.status import UpdateOutcome, UpdateReport
from driftline_shared.tokens import Sample
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers
from tests.fakes.rounds import open_cloud, run_rounds, send


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cloud") / "state"


@pytest.fixture
def database(state: Path) -> Iterator[Database]:
    """Opened beside the cloud, as a reader that comes later."""
    with closing(Database(f"sqlite:///{state / 'cloud.sqlite'}")) as found:
        yield found


@pytest.fixture(scope="module")
def samples(state: Path) -> list[Sample]:
    """Two rounds: of 40 samples, which released version 1, and of 40, which was refused."""
    with closing(open_cloud(state, ReckoningWorkers(), FakeClock())) as cloud:
        first = send(cloud, range(40))
        run_rounds(cloud)
    worse = ReckoningWorkers(gain=-0.2)
    with closing(open_cloud(state, worse, FakeClock())) as cloud:
        second = send(cloud, range(40, 80))
        run_rounds(cloud)
    return [*first, *second]


def line_of(state: Path) -> str:
    (folder,) = (state / "releases" / "lines").iterdir()
    return folder.name


def test_rounds_are_told_in_turn(state: Path, samples: list[Sample], database: Database) -> None:
    numbers = {sample.id: 3 * place + 1 for place, sample in enumerate(samples)}
    done, refused = rounds_of(database, line_of(state), numbers)
    assert (done.number, done.state, done.trigger, done.reason) == (1, "done", "count", "")
    assert (done.num_samples, done.at) == (40, 3 * 39 + 1)
    assert done.numbers["gate.candidate_agreement"] > done.numbers["gate.base_agreement"]
    assert (refused.number, refused.state, refused.trigger) == (2, "rejected", "")
    assert "agreement" in refused.reason and refused.at == 3 * 79 + 1


def test_a_round_of_unknown_answers_has_no_place(
    state: Path, samples: list[Sample], database: Database
) -> None:
    assert [each.at for each in rounds_of(database, line_of(state), {})] == [None, None]


def test_an_update_is_in_force_from_the_first_answer_it_gave(
    state: Path, samples: list[Sample]
) -> None:
    rows = [TimelineRow(n=1), TimelineRow(n=2), TimelineRow(n=3, version=1)]
    (update,) = updates_of(state / "releases", line_of(state), rows)
    assert (update.version, update.at) == (1, 2)
    (unused,) = updates_of(state / "releases", line_of(state), rows[:2])
    assert unused.at is None
    manifest = ReleaseRegistry(state / "releases").manifest(line_of(state), 1)
    assert update.digest == manifest.target_digest.hex()
    assert update.bytes == update_bytes(manifest)


def test_a_version_is_refused_when_the_last_report_of_it_says_so(
    state: Path, samples: list[Sample], database: Database
) -> None:
    line, register = line_of(state), DeviceRegister(database)
    device = Device(
        device_id="d",
        line=line,
        token_space="",
        base_model="",
        adapter_version=0,
        enrolled_unix_s=0,
        last_seen_unix_s=0,
        last_report="",
    )
    outcomes = [(1, UpdateOutcome.FAILED), (1, UpdateOutcome.APPLIED), (2, UpdateOutcome.FAILED)]
    for version, outcome in outcomes:
        report = UpdateReport(version=version, outcome=outcome, reason="slow", detail="9 ms")
        register.add_report(device, report, adapter_version=0, now_unix_s=0)
    assert refusals_of(database, line) == {2: "slow: 9 ms"}
    assert refusals_of(database, "another") == {}
    (update,) = updates_of(state / "releases", line, [], {1: "slow: 9 ms"})
    assert update.refused == "slow: 9 ms"


def test_a_picture_has_the_tokens_that_were_sent(
    tmp_path: Path, state: Path, samples: list[Sample], database: Database
) -> None:
    stream = write_stream(tmp_path / "data", 6)
    answers = [
        Answered(row=TimelineRow(n=1, domain="a"), sample_id=None),
        Answered(row=TimelineRow(n=2, domain="a", sent=True, bytes=9), sample_id=samples[0].id),
        Answered(row=TimelineRow(n=4, domain="b", sent=True), sample_id=samples[50].id),
        Answered(row=TimelineRow(n=5, domain="b", sent=True), sample_id=b"never stored 16b"),
    ]
    chosen = choose_answers(answers, each_domain=3)
    assert [answer.row.n for answer in chosen] == [2, 4, 5]
    stored = labelled_samples(database, [answer.sample_id or b"" for answer in chosen])
    assert stored.keys() == {samples[0].id, samples[50].id}
    with closing(open_cloud(state, ReckoningWorkers(), FakeClock())) as cloud:
        space = cloud.line.token_space
    found = draw_pictures(stream, chosen, stored, space)
    first, second = found
    assert (first.n, first.question, first.answer, first.bytes) == (2, "question 2", "a thing", 9)
    assert first.teacher == stored[samples[0].id].teacher != ""
    kept = decode_tokens(samples[0].tokens, space).positions
    assert list(first.kept) == list(kept)
    assert second.n == 4 and second.kept != first.kept
    assert all(data.startswith(b"\x89PNG") for data in found.values())


def write_stream(folder: Path, count: int) -> Path:
    folder.mkdir()
    rows = []
    for number in range(1, count + 1):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(folder / f"{number}.png")
        rows.append(json.dumps({"image": f"{number}.png", "question": f"question {number}"}))
    (folder / "stream.jsonl").write_text("\n".join(rows) + "\n")
    return folder / "stream.jsonl"


def test_chosen_answers_lie_evenly_over_their_domain() -> None:
    answers = [
        Answered(row=TimelineRow(n=n, domain="night" if n > 20 else "source"), sample_id=bytes(16))
        for n in range(1, 121)
    ]
    chosen = [answer.row.n for answer in choose_answers(answers, each_domain=3)]
    assert chosen == [1, 10, 20, 21, 70, 120]


def test_events_are_read_as_a_timeline(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    event = {"n": 1, "segment": "s", "domain": "d", "correct": True, "version": 0}
    event |= {"uncertainty": 0.5, "sent": True, "sample": "ab" * 16, "bytes": 7}
    path.write_text(json.dumps(event) + "\n")
    (answer,) = read_events(path)
    assert answer.sample_id == bytes.fromhex("ab" * 16)
    assert (answer.row.n, answer.row.domain, answer.row.bytes) == (1, "d", 7)
    path.write_text(json.dumps(event) + '\n{"n": 2\n')
    with pytest.raises(DataError, match="line 2"):
        list(read_events(path))
