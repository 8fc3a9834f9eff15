"""The daemon with a runtime without a model and a link without a network."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from driftline_device.config import load_config
from driftline_device.daemon.daemon import SLICE_S, Daemon
from driftline_device.daemon.snapshot import read_snapshot
from driftline_device.daemon.state_files import StateFiles
from driftline_device.daemon.supervision import Supervisor
from driftline_device.history.history import History
from driftline_device.link.settings import LinkStats
from driftline_device.program.assembly import open_daemon
from driftline_device.program.service import stream
from driftline_device.runtime.runtime import Answer, Question
from driftline_device.show.text import describe
from driftline_device.sources.folder import FolderSource
from driftline_device.sources.table import open_source
from driftline_device.updates import phases
from driftline_device.updates.phases import UpdateState
from driftline_shared.errors import LinkError
from driftline_shared.host.loopback import free_port
from driftline_shared.ids import line_id
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.spans.context import release_context
from driftline_shared.spans.spans import Spans
from driftline_shared.status import CloudStatus, LineStatus, RoundStatus
from driftline_shared.tokens import SamplingPolicy
from driftline_shared.update import Manifest
from tests.fakes.answers import answers_followed
from tests.fakes.runtime import BASE_MODEL, PAIR, FakeRuntime, adapter, write_dataset, write_pair
from tests.fakes.runtime import stream as questions
from tests.fakes.updates import FakeUpdateLink, make_update
from tests.fakes.waiting import until

EAGER: dict[str, object] = {
    "poll_s": 0.05,
    "status_s": 0.05,
    "quiet_s": 0.1,
    "seed": 1,
    "sampling.gate_quantile": 0.5,
    "sampling.max_sample_share": 1.0,
    "sampling.audit_rate": 0.0,
    "sampling.token_scorer": "magnitude",
}


class NullLink(FakeUpdateLink):
    """Takes every sample at once; `rounds` are the states that `status` shows, one a call."""

    def __init__(self, *offers: tuple[Manifest, bytes]) -> None:
        super().__init__(*offers)
        self.spool: Any = None
        self.taken: list[bytes] = []
        self.rounds: list[str] = []
        self.offline = False
        self.held = False
        self.ask_after_s = 0.0
        self.on_policy: Callable[[SamplingPolicy], None] = lambda policy: None

    def start(self) -> None:
        pass

    def stop(self, timeout_s: float = 5.0) -> bool:
        return True

    def wake(self) -> None:
        if not self.offline and not self.held:
            ids = [sample.id for _, sample in self.spool.peek(max_bytes=1 << 20, max_samples=99)]
            self.taken += ids
            self.spool.ack(ids)

    def hold(self, held: bool) -> None:
        self.held = held

    def flush(self, timeout_s: float) -> bool:
        self.wake()
        return self.spool.stats().num_samples == 0

    def stats(self) -> LinkStats:
        return LinkStats(
            connected=not self.offline,
            last_error="",
            bytes_up=10 * len(self.taken),
            bytes_down=5,
            update_bytes=3,
            num_sent=len(self.taken),
            num_acked=len(self.taken),
            num_refused=0,
            num_retried=0,
            num_reconnects=0,
            num_in_flight=0,
            newest_version=0,
            ask_after_s=self.ask_after_s,
        )

    def check(self, *, adapter_version: int, failed_versions: Sequence[int]) -> Manifest | None:
        if self.offline:
            raise LinkError("no cloud")
        return super().check(adapter_version=adapter_version, failed_versions=failed_versions)

    def status(self) -> CloudStatus:
        if self.offline:
            raise LinkError("no cloud")
        state = self.rounds.pop(0) if self.rounds else "done"
        shown = RoundStatus(round_id="r", state=state, num_samples=1, target_version=1)
        newest = max([0, *(manifest.target_version for manifest, _ in self.offers)])
        line = LineStatus(
            line=f"{PAIR}-{BASE_MODEL[:12]}",
            newest_version=newest,
            num_samples=1,
            num_waiting=0,
            num_rounds=1,
            round=shown,
        )
        return CloudStatus(cloud_id="c", version="0", lines=(line,))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return load_pair(write_pair(tmp_path_factory.mktemp("pair")))


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Daemons over one state folder, one after the other."""

    folder: Path
    pair: Pair
    patch: pytest.MonkeyPatch

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @contextmanager
    def open(
        self,
        link: NullLink | None = None,
        runtime: FakeRuntime | None = None,
        reply: Any = None,
        **overrides: object,
    ) -> Iterator[Daemon]:
        def make_link(_settings: Any, _enrolment: Any, spool: Any, **kwargs: Any) -> NullLink:
            assert link is not None
            link.spool, link.on_policy = spool, kwargs["on_policy"]
            return link

        self.patch.setattr("driftline_device.program.assembly.Link", make_link)
        settings = {
            **EAGER,
            "state": str(self.state),
            "events": str(self.folder / "events.jsonl"),
            "cloud": "127.0.0.1:1" if link is not None else "",
            **overrides,
        }
        config = load_config(None, settings, {})
        with (
            answers_followed(reply),
            open_daemon(config, self.pair, runtime or FakeRuntime()) as daemon,
        ):
            yield daemon

    def run(self, path: Path, link: NullLink | None = None, **options: Any) -> dict[str, Any]:
        """Open a daemon, answer the source at `path` and stop; the status it leaves."""
        with self.open(link, **options) as daemon:
            go(daemon, path)
        return read_snapshot(self.state)

    def write(self, num: int, *, hard: bool = True) -> Path:
        """A source of `num` questions."""
        return write_dataset(self.folder / "data", questions(num, hard=hard))

    def events(self) -> list[dict[str, Any]]:
        path = self.folder / "events.jsonl"
        rows = path.read_text().splitlines() if path.exists() else []
        return [json.loads(row) for row in rows]


@pytest.fixture
def bench(tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(folder=tmp_path, pair=pair, patch=monkeypatch)


def go(daemon: Daemon, *paths: Path, settle_s: float = 0.0) -> None:
    sources = [open_source(path) for path in paths]
    stream(daemon, sources, settle_s=settle_s, drain_s=5.0, hold=False)


def test_a_stream_is_answered_sampled_sent_and_counted(bench: Bench) -> None:
    easy = write_dataset(bench.folder / "easy", questions(10, hard=False), name="easy.jsonl")
    hard = write_dataset(bench.folder / "hard", questions(6, hard=True), name="hard.jsonl")
    with hard.open("a") as file:
        file.write("nonsense\n")
    replies: list[tuple[str, str]] = []
    link = NullLink()
    with bench.open(link, reply=lambda q, a: replies.append((q.text, a.text))) as daemon:
        go(daemon, easy, hard)
    rows = bench.events()
    assert [row["n"] for row in rows] == list(range(1, 17))
    assert [row["correct"] for row in rows] == [True] * 10 + [False] * 6
    assert [row["sent"] for row in rows] == [False] * 10 + [True] * 6
    assert [row["bytes"] > 0 for row in rows] == [False] * 10 + [True] * 6
    assert [bytes.fromhex(row["sample"]) for row in rows if row["sent"]] == link.taken
    assert [question for question, _ in replies][:2] == ["what is 0?", "what is 1?"]
    status = read_snapshot(bench.state)
    assert (status["activity"], status["segment"], status["num_answered"]) == (
        "stopped",
        "hard",
        16,
    )
    assert status["domains"]["hard"] == {"num_answered": 6, "num_scored": 6, "num_correct": 0}
    assert (status["accuracy"], status["num_seen"], status["num_sent"]) == (0.0, 16, 6)
    assert status["uncertainty"] == pytest.approx(0.9)
    assert (status["num_broken_rows"], status["bytes_up"]) == (1, 60)
    assert len(describe(status)) == 6


def test_truth_is_in_no_sample_and_no_file(bench: Bench) -> None:
    rows = [replace(each, answer="the hidden truth") for each in questions(6, hard=True)]
    bench.run(write_dataset(bench.folder / "data", rows))
    for file in (*bench.state.rglob("*"), bench.folder / "events.jsonl"):
        if file.is_file():
            assert b"hidden truth" not in file.read_bytes(), file


def test_an_update_comes_while_the_stream_runs(bench: Bench) -> None:
    link = NullLink(make_update(adapter(skill=1.0), 1))
    status = bench.run(bench.write(60), link, pace=60.0)
    rows = bench.events()
    versions = [row["version"] for row in rows]
    assert (len(rows), versions[-1]) == (60, 1)
    assert versions == sorted(versions)
    assert all(row["correct"] == (row["version"] == 1) for row in rows)
    assert (status["version"], status["num_updates"]) == (1, 1)
    assert status["update"]["outcome"] == "applied"
    assert len(status["apply_pause_ms"]) == 1


def test_samples_and_updates_are_told_in_spans(bench: Bench) -> None:
    exporters: list[InMemorySpanExporter] = []

    def opened(_settings: object, service: str) -> Spans:
        exporters.append(InMemorySpanExporter())
        return Spans(SimpleSpanProcessor(exporters[-1]), service)

    bench.patch.setattr("driftline_device.program.assembly.open_spans", opened)
    bench.run(bench.write(30))  # before the update, which leaves nothing to be unsure of
    bench.run(bench.write(30), NullLink(make_update(adapter(skill=1.0), 1)), pace=60.0)
    spans = [one for exporter in exporters for one in exporter.get_finished_spans()]
    sent = {row["sample"] for row in bench.events() if row["sent"]}
    assert (
        sent
        and {one.attributes["driftline.sample"] for one in spans if one.name == "sample"} == sent
    )
    (applied,) = [one for one in spans if one.name == "update.apply"]
    line = line_id(bench.pair.name, FakeRuntime().base_model)
    assert applied.attributes["driftline.outcome"] == "applied"
    assert applied.links[0].context.span_id == release_context(line, 1).span_id
    assert applied.end_time > applied.start_time


def test_answers_that_the_owner_marked_judge_the_next_update(bench: Bench) -> None:
    """The owner likes what version 0 says to hard pictures; the update would change that."""
    keep = {"history.pictures": "true"}
    bench.run(bench.write(3), **keep)
    history = History(bench.state)
    for past in history.answers(most=9):
        history.mark(past.id, right=True, answer=None, now_s=past.unix_s)
    link = NullLink(make_update(adapter(skill=1.0), 1))
    status = bench.run(bench.write(20), link, pace=60.0, **keep)
    assert (status["version"], status["update"]["reason"]) == (0, "owner_disagrees")
    card = history.updates()[0]
    assert (card.version, card.outcome, card.marks.num_broken) == (1, "failed", 3)
    assert card.num_bytes > 0 and len(card.marks.broken) == 3
    history.close()


@pytest.mark.parametrize("allowed", [False, True])
def test_what_the_owner_says_leaves_only_where_they_allow_it(bench: Bench, allowed: bool) -> None:
    keep = {"history.pictures": "true", "labels_may_leave": str(allowed).lower()}
    quiet = {"sampling.max_sample_share": "0", "sampling.audit_rate": "0"}
    bench.run(bench.write(2), **keep, **quiet)
    history = History(bench.state)
    wrong, right = history.answers(most=9)
    history.mark(wrong.id, right=False, answer="a zebra", now_s=1.0)
    history.mark(right.id, right=True, answer=None, now_s=2.0)
    link = NullLink()
    link.offline = True  # what is sent stays in the spool, to be looked at
    with bench.open(link, status_s=0.02, **keep, **quiet) as daemon:
        daemon.start()
        if allowed:
            until(lambda: daemon.snapshot().spool["num_samples"] == 2)
        else:
            time.sleep(0.3)
        found = [sample.sample for _, sample in link.spool.peek(max_bytes=1 << 20, max_samples=9)]
        daemon.stop(0.0)
    words = ["a zebra", right.answer] if allowed else []
    assert [sample.owner_answer for sample in found] == words
    history.close()


def test_offline_it_answers_keeps_samples_and_sends_them_later(bench: Bench) -> None:
    link = NullLink()
    link.offline = True
    bench.run(bench.write(8), link)
    assert (len(bench.events()), link.taken) == (8, [])
    online = NullLink()
    with bench.open(online) as daemon:
        go(daemon)
    assert len(online.taken) == 8


@pytest.mark.parametrize(
    ("policy", "num_sent", "revision"),
    [
        (SamplingPolicy(revision=7, max_sample_share=0.0, audit_rate=0.0), 0, 7),
        (SamplingPolicy(revision=8, gate_score="tea_leaves"), 8, 0),  # cannot be obeyed
    ],
)
def test_a_policy_is_obeyed_at_once_and_after_an_offline_start(
    bench: Bench, policy: SamplingPolicy, num_sent: int, revision: int
) -> None:
    path, link = bench.write(8), NullLink()
    with bench.open(link) as daemon:
        link.on_policy(policy)
        go(daemon, path)
        assert daemon.snapshot().policy_revision == revision
    assert len(link.taken) == num_sent
    with bench.open() as daemon:
        assert daemon.snapshot().policy_revision == revision
        go(daemon, path)
    sent = [row["sent"] for row in bench.events()]
    assert len(sent) == 16
    assert sum(sent[:8]) == num_sent


@pytest.mark.parametrize("allowed", [False, True])
def test_a_policy_that_asks_for_images_needs_the_owners_word(
    bench: Bench, allowed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bench.write(8)
    with bench.open(images_may_leave=allowed) as daemon:
        for revision in (3, 4):
            daemon.adopt_policy(
                SamplingPolicy(
                    revision=revision,
                    images_may_leave=True,
                    max_sample_share=1.0,
                    token_scorer="magnitude",
                )
            )
            daemon.run(open_source(path))
        daemon.stop(1.0)
        rows = daemon._parts.spool.peek(max_bytes=1 << 20, max_samples=99)
    assert len(rows) == 16
    assert {row.sample.regions is not None for _, row in rows} == {allowed}
    status = read_snapshot(bench.state)
    assert status["images"] == {"allowed": allowed, "asked": True, "num_sent": 16 if allowed else 0}
    (line,) = [line for line in describe(status) if line.startswith("images")]
    assert ("may not leave" in line) is not allowed
    assert capsys.readouterr().out.count("policy.images_stay") == int(not allowed)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ({}, "may not leave"),
        ({"allowed": False, "asked": False, "num_sent": 0}, "may not leave this device"),
        ({"allowed": False, "asked": True, "num_sent": 0}, "none are sent"),
        ({"allowed": True, "asked": False, "num_sent": 0}, "asks for none"),
        ({"allowed": True, "asked": True, "num_sent": 7}, "parts of 7"),
    ],
)
def test_the_status_says_whether_images_leave(
    bench: Bench, images: dict[str, Any], words: str
) -> None:
    with bench.open() as daemon:
        status = asdict(daemon.snapshot()) | {"images": images}
    assert any(words in line for line in describe(status))


def test_files_that_a_folder_passes_over_are_in_the_status(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.HEVC", "b.xyz", "broken.png"):
        (folder / name).write_bytes(b"?")
    with bench.open(NullLink()) as daemon:
        for _ in range(2):
            assert daemon.run(FolderSource(folder, question="what?")) == 0
        snapshot = daemon.snapshot()
    assert (snapshot.num_files_left_out, snapshot.num_broken_rows) == (4, 2)
    assert "4 files of unknown kind" in "\n".join(describe(asdict(snapshot)))


def test_a_paused_device_only_answers_also_after_a_restart(bench: Bench) -> None:
    path, state_files = bench.write(8), StateFiles(bench.state)
    state_files.pause(1_000.0)
    state_files.pause(2_000.0)  # the first request counts
    for paused in (True, False):
        link = NullLink(make_update(adapter(skill=1.0), 1))
        with bench.open(link) as daemon:
            go(daemon, path, settle_s=60.0)
            assert link.held is paused
        status = read_snapshot(bench.state)
        found = (len(link.taken), status["version"], status["paused_unix_s"])
        assert found == ((0, 0, 1_000.0) if paused else (8, 1, None))
        assert status["num_answered"] == 8
        assert ("paused since" in describe(status)[0]) is paused
        state_files.resume()


def test_a_pause_is_obeyed_and_ended_while_the_stream_runs(bench: Bench) -> None:
    state_files, link = StateFiles(bench.state), NullLink()

    def reply(*_: object) -> None:
        num = len(bench.events())
        if num == 20:
            state_files.pause(1.0)
            until(lambda: link.held)
        if num == 60:
            state_files.resume()
            until(lambda: not link.held)

    bench.run(bench.write(120), link, reply=reply)
    sent = [row["sent"] for row in bench.events()]
    assert sent == [True] * 20 + [False] * 40 + [True] * 60
    assert len(link.taken) == 80


class Beats(Supervisor):
    """Counts the beats of the loop."""

    num = 0

    def beat(self) -> None:
        self.num += 1


def test_the_loop_beats_while_it_answers_and_holds_but_not_while_the_model_hangs(
    bench: Bench,
) -> None:
    path, beats = bench.write(9), Beats()
    with bench.open(batch_size=2) as daemon:
        daemon._supervisor = beats
        daemon.start()
        daemon.run(open_source(path))
        assert beats.num == 5
        holding = threading.Thread(target=daemon.hold)
        turns = daemon._parts.runtime.turns
        with turns:
            holding.start()
            until(lambda: beats.num == 6)  # the first look: a turn may just have begun
            started_s = time.monotonic()
            until(lambda: time.monotonic() - started_s > 3 * SLICE_S)
            assert beats.num == 6
        until(lambda: beats.num >= 8)
        daemon.stop(0.1)
        holding.join(10.0)


@pytest.mark.parametrize("text", ["", "nonsense", "{}", '{"since_unix_s": "x"}'])
def test_a_broken_pause_file_still_counts(tmp_path: Path, text: str) -> None:
    state_files = StateFiles(tmp_path)
    assert state_files.paused_since() is None
    (tmp_path / "paused.json").write_text(text)
    assert state_files.paused_since() == 0.0
    state_files.resume()
    state_files.resume()
    assert state_files.paused_since() is None


@pytest.mark.parametrize(
    "part",
    [
        "sampling.sampler.Sampler.consider",
        "spool.sqlite.SqliteSpool.append",
        "daemon.daemon.write_snapshot",
    ],
)
def test_whatever_breaks_in_the_background_the_device_answers(
    bench: Bench, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Any:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(f"driftline_device.{part}", broken)
    with bench.open(NullLink()) as daemon:
        go(daemon, bench.write(5))
    assert len(bench.events()) == 5


class Fragile(FakeRuntime):
    """Raises for questions that begin with `text` while `broken` is in force.

    The probe's questions differ: only real ones show that a version crashes.
    """

    def __init__(self, text: str, broken: int) -> None:
        super().__init__()
        self._text, self._broken = text, broken
        self.num_raised = 0

    def answer(self, questions: Sequence[Question], *, on_token: Any = None) -> list[Answer]:
        """The ninth question waits for the version: however slow a machine, it comes in time."""
        if self.calls >= 8 and not self.num_raised and self._is_meant(questions[0]):
            until(lambda: self._version == self._broken)
        return super().answer(questions, on_token=on_token)

    def _is_meant(self, question: Question) -> bool:
        return question.text.startswith(self._text)

    def _one(self, question: Question) -> Answer:
        if self._version == self._broken and self._is_meant(question):
            self.num_raised += 1
            raise RuntimeError("crashes in the field")
        return super()._one(question)


def test_one_question_that_breaks_the_model_does_not_cost_the_others(bench: Bench) -> None:
    status = bench.run(bench.write(6, hard=False), runtime=Fragile("what is 2?", 0))
    assert (status["num_answered"], status["num_errors"]) == (5, 1)


def test_a_version_that_breaks_in_the_field_is_left_while_answering(bench: Bench) -> None:
    link = NullLink(make_update(adapter(skill=1.0), 1))
    path = bench.write(40, hard=False)
    status = bench.run(path, link, runtime=Fragile("what is", 1))
    assert (len(bench.events()), status["num_errors"]) == (40, 0)
    assert (status["version"], status["failed_versions"]) == (0, [1])
    assert status["update"]["reason"] == "watch_errors"
    assert [report.outcome for report in link.reports] == ["applied", "rolled_back"]


def test_a_cloud_with_a_large_fleet_is_asked_less_often_whatever_was_set(bench: Bench) -> None:
    link = NullLink()
    link.ask_after_s = 1_200.0
    with bench.open(link, poll_s=0.05) as daemon:
        assert daemon._poll_s() == 1_200.0
        link.ask_after_s = 0.0
        assert daemon._poll_s() == 0.05


def test_answers_that_break_while_a_slow_disk_keeps_the_new_version_are_not_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = NullLink(make_update(adapter(skill=1.0), 1))
    runtime = Fragile("what is", 1)
    activate = phases.activate

    def slow(state: UpdateState, numbers: dict[str, float]) -> UpdateState:
        until(lambda: runtime.num_raised >= 2)
        time.sleep(0.3)  # in which nobody may give up
        return activate(state, numbers)

    monkeypatch.setattr(phases, "activate", slow)
    status = bench.run(bench.write(40, hard=False), link, runtime=runtime)
    assert (len(bench.events()), status["num_errors"]) == (40, 0)
    assert (status["version"], status["failed_versions"]) == (0, [1])


def test_settling_waits_for_the_round_and_its_update(bench: Bench) -> None:
    path = bench.write(4)
    link = NullLink()
    link.rounds = ["labelling", "distilling"]
    with bench.open(link, poll_s=60.0) as daemon:
        daemon.start()
        daemon.run(open_source(path))
        update = make_update(adapter(skill=1.0), 1)
        timer = threading.Timer(0.3, lambda: link.offers.append(update))
        timer.start()
        link.rounds += ["distilling"] * 2
        assert daemon.settle(20.0)
        timer.join()
        daemon.settle(20.0)
        assert daemon.snapshot().version == 1
        daemon.stop(1.0)


def test_settling_gives_up_when_there_is_no_cloud(bench: Bench) -> None:
    link = NullLink()
    link.offline = True
    with bench.open(link) as daemon:
        daemon.start()
        assert not daemon.settle(0.5)
        daemon.stop(0.1)


def test_pauses_come_every_so_many_questions(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[int] = []
    path = bench.write(20, hard=False)
    with bench.open(NullLink(), settle_every=6, settle_s=1.0, batch_size=4) as daemon:
        monkeypatch.setattr(
            daemon, "settle", lambda _s: pauses.append(daemon.snapshot().num_answered)
        )
        go(daemon, path)
    assert pauses == [8, 12, 20]


def told(bench: Bench) -> str:
    """What `status` says first."""
    return describe(read_snapshot(bench.state))[0]


class Stepped:
    """A daemon with steps that runs in a thread of its own."""

    def __init__(self, bench: Bench, daemon: Daemon, path: Path) -> None:
        self.daemon, self.state_files = daemon, StateFiles(bench.state)
        self.thread = threading.Thread(target=go, args=(daemon, path), daemon=True)
        self.thread.start()

    def wait_at(self, step: int) -> tuple[int, int]:
        """(answers given, version in force) at `step`."""

        def waits() -> bool:
            found = self.daemon.snapshot()
            return (found.step, found.activity) == (step, "waiting")

        until(waits)
        found = self.daemon.snapshot()
        return found.num_answered, found.version

    def let_go_on(self, step: int) -> None:
        self.state_files.let_go_on(step)

    def end(self) -> None:
        self.thread.join(60.0)
        assert not self.thread.is_alive()


def test_a_device_with_steps_takes_updates_only_when_it_is_let_go_on(bench: Bench) -> None:
    first, second = adapter(slow_ms=0.1), adapter(skill=1.0)
    link = NullLink(make_update(first, 1))
    StateFiles(bench.state).let_go_on(9)  # of a run before: it holds no more
    with bench.open(link, step_questions=6, batch_size=4) as daemon:
        run = Stepped(bench, daemon, bench.write(20))
        assert run.wait_at(0) == (0, 0)
        run.let_go_on(0)
        assert run.wait_at(1) == (6, 1)
        until(lambda: "waiting at step 1 (`driftline device step`" in told(bench))
        assert len(link.taken) == link.stats().num_acked > 0
        assert not daemon.snapshot().spool["num_samples"]
        link.offers.append(make_update(second, 2, base=first, base_version=1))
        run.let_go_on(1)
        assert run.wait_at(2) == (12, 2)
        assert [report.version for report in link.reports] == [1, 2]
        run.let_go_on(3)  # two at once
        assert run.wait_at(4) == (20, 2)
        run.let_go_on(4)
        run.end()
    assert [row["version"] for row in bench.events()] == [1] * 6 + [2] * 14


def test_a_policy_comes_into_force_at_a_step(bench: Bench) -> None:
    link = NullLink()

    def reply(*_: object) -> None:
        link.on_policy(SamplingPolicy(revision=7, max_sample_share=0.0))

    with bench.open(link, reply=reply, step_questions=6, batch_size=4) as daemon:
        run = Stepped(bench, daemon, bench.write(12))
        run.wait_at(0)
        run.let_go_on(0)
        run.wait_at(1)
        run.let_go_on(2)
        run.end()
        assert daemon.snapshot().policy_revision == 7
    sent = [row["sent"] for row in bench.events()]
    assert any(sent[:6])
    assert not any(sent[6:])


def test_the_watch_leaves_a_version_at_the_same_question_each_time(bench: Bench) -> None:
    for _ in range(2):
        shutil.rmtree(bench.state, ignore_errors=True)
        (bench.folder / "events.jsonl").unlink(missing_ok=True)
        link = NullLink()
        limits = {"watch.num_answers": 8, "watch.slack": 0.0}
        with bench.open(link, step_questions=10, batch_size=4, **limits) as daemon:
            run = Stepped(bench, daemon, bench.write(40, hard=False))
            run.wait_at(0)
            run.let_go_on(0)
            run.wait_at(1)
            link.offers.append(make_update(adapter(unsure=1.0), 1))
            run.let_go_on(9)
            run.end()
        versions = [row["version"] for row in bench.events()]
        assert versions == [0] * 10 + [1] * 8 + [0] * 22
        assert [report.reason for report in link.reports] == ["applied", "watch_unsure"]


def test_a_device_that_waits_at_a_step_can_be_stopped(bench: Bench) -> None:
    with bench.open(NullLink(), step_questions=6) as daemon:
        run = Stepped(bench, daemon, bench.write(12))
        run.wait_at(0)
        daemon.request_stop()
        run.end()
    assert not bench.events()


def test_a_request_to_stop_ends_the_stream_and_the_hold(bench: Bench) -> None:
    path = bench.write(12, hard=False)

    def stop_at(question: Question, _answer: Any) -> None:
        if question.text == "what is 4?":
            daemon.request_stop()

    with bench.open(reply=stop_at, batch_size=4) as daemon:
        stream(daemon, [open_source(path)], settle_s=5.0, drain_s=1.0, hold=True)
        assert daemon.snapshot().num_answered == 8
    assert not [each for each in threading.enumerate() if each.name.startswith("driftline-")]


def test_an_operator_leaves_a_version_while_the_daemon_runs(bench: Bench) -> None:
    link = NullLink(make_update(adapter(skill=1.0), 1))
    with bench.open(link) as daemon:
        daemon.start()
        until(lambda: daemon.snapshot().version == 1)
        StateFiles(bench.state).request_rollback(1)
        until(lambda: daemon.snapshot().version == 0)
        until(lambda: link.reports[-1].reason == "operator_rollback")
        daemon.stop(1.0)


def test_budgets_spent_survive_a_restart(bench: Bench) -> None:
    path, sent = bench.write(8), []
    for _ in range(2):
        bench.run(path, **{"sampling.samples_per_hour": 2.0})
        sent.append(sum(row["sent"] for row in bench.events()))
    assert 0 < sent[0] == sent[1] < 8


def test_metrics_are_served(bench: Bench) -> None:
    port = free_port()
    with bench.open(**{"metrics.port": port}) as daemon:
        go(daemon, bench.write(3))
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
            text = reply.read().decode()
    assert "driftline_device_answered_total 3.0" in text
    assert "driftline_device_adapter_version 0.0" in text
