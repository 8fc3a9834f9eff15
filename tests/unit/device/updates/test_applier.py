"""Updates from the offer to the model and back, on a real disk with real coded updates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from driftline_device.history.marks import Mark
from driftline_device.runtime.runtime import Answer, Question
from driftline_device.updates.applier import Applier, UpdateSettings
from driftline_device.updates.owner_check import OwnersMarks
from driftline_device.updates.partners import Signatures
from driftline_device.updates.phases import MAX_WATCHED_STARTS, Phase, UpdateState
from driftline_device.updates.probe import ProbeLimits
from driftline_device.updates.watch import WatchLimits
from driftline_shared.errors import LinkError, Reason
from driftline_shared.status import UpdateOutcome, UpdateReport
from driftline_shared.update import Adapter, Manifest, UpdateKind, adapter_digest
from tests.fakes.clock import FakeClock
from tests.fakes.runtime import (
    BASE_MODEL,
    PAIR,
    SPACE,
    WORDS,
    FakeRuntime,
    adapter,
    base_adapter,
    picture,
    probe_set,
)
from tests.fakes.updates import FakeUpdateLink, make_update, stages_followed

SETTINGS = UpdateSettings(watch=WatchLimits(num_answers=6, num_confirm=3))


def make(
    state_dir: Path,
    runtime: FakeRuntime | None = None,
    *,
    settings: UpdateSettings = SETTINGS,
    marks: OwnersMarks | None = None,
    signatures: Signatures | None = None,
) -> tuple[Applier, FakeRuntime]:
    """A device after its start."""
    runtime = runtime or FakeRuntime()
    made = Applier(
        state_dir=state_dir,
        runtime=runtime,
        pair_name=PAIR,
        token_space=SPACE,
        probe_set=probe_set(),
        clock=FakeClock(),
        settings=settings,
        marks=marks,
        signatures=signatures,
    )
    made.recover()
    return made, runtime


def same(left: Adapter, right: Adapter) -> bool:
    return adapter_digest(left) == adapter_digest(right)


def ask(applier: Applier, runtime: FakeRuntime, num: int, *, hard: bool = False) -> None:
    for n in range(num):
        question = Question(image=picture(n, hard=hard), text="what?")
        try:
            answers = runtime.answer([question])
        except RuntimeError:
            applier.errored()
            continue
        applier.answered(question, answers[0])


def test_an_update_is_applied_reported_and_there_after_a_restart(tmp_path: Path) -> None:
    stages: list[str] = []
    applier, runtime = make(tmp_path)
    target = adapter(skill=1.0)
    link = FakeUpdateLink(make_update(target, 1))

    with stages_followed(stages.append):
        assert applier.poll(link)
    assert stages[:6] == ["fetching", "verified", "staged", "probing", "pointed", "active"]
    assert runtime.version == 1
    assert same(runtime.adapter(), target)
    assert [(r.version, r.outcome, r.reason) for r in link.reports] == [
        (1, UpdateOutcome.APPLIED, Reason.APPLIED)
    ]
    assert "apply_pause_ms" in link.reports[0].numbers
    assert len(applier.apply_pauses_ms) == 1
    assert not applier.poll(link)
    assert link.asked[-1] == (1, ())

    again, restarted = make(tmp_path)
    assert (again.state.phase, again.state.version, restarted.version) == (Phase.ACTIVE, 1, 1)
    assert same(restarted.adapter(), target)


def test_a_version_of_revoked_keys_is_left_for_the_one_before_it(tmp_path: Path) -> None:
    class Revoked:
        def check(self, manifest: Manifest) -> None:
            """All is signed."""

        def disowns(self, version: int) -> bool:
            return version >= 1 << 31

    applier, runtime = make(tmp_path, signatures=Revoked())
    good, far = adapter(skill=0.5), 1 << 31
    assert applier.poll(FakeUpdateLink(make_update(good, 1)))
    thiefs = make_update(adapter(skill=1.0), far, base=good, base_version=1)
    assert applier.poll(FakeUpdateLink(thiefs)) and runtime.version == far
    link = FakeUpdateLink()
    assert applier.poll(link)
    assert runtime.version == 1 and same(runtime.adapter(), good)
    assert [(r.version, r.outcome, r.reason) for r in link.reports] == [
        (far, UpdateOutcome.ROLLED_BACK, Reason.NOT_SIGNED)
    ]
    second = make_update(adapter(skill=0.7), 2, base=good, base_version=1)
    assert applier.poll(FakeUpdateLink(second)) and runtime.version == 2


def test_a_chain_uses_both_slots(tmp_path: Path) -> None:
    applier, runtime = make(tmp_path)
    adapters = [base_adapter()]
    for version in range(1, 5):
        adapters.append(adapter(skill=version / 10))
        offer = make_update(adapters[-1], version, base=adapters[-2], base_version=version - 1)
        assert applier.poll(FakeUpdateLink(offer))
        assert (runtime.version, same(runtime.adapter(), adapters[-1])) == (version, True)
    pointer = json.loads((tmp_path / "slots" / "current.json").read_text())
    assert (pointer["version"], pointer["previous_version"]) == (4, 3)
    assert pointer["slot"] != pointer["previous"]


def test_a_full_update_replaces_any_base(tmp_path: Path) -> None:
    applier, runtime = make(tmp_path)
    strange = adapter(skill=0.3)
    full = make_update(adapter(skill=1.0), 9, base=strange, base_version=8, kind=UpdateKind.FULL)
    assert applier.poll(FakeUpdateLink(full))
    assert runtime.version == 9


BAD_MANIFESTS: list[tuple[dict[str, Any], Reason, bool]] = [
    ({"format": 3}, Reason.MANIFEST_INVALID, True),
    ({"pair": "other"}, Reason.BASE_MODEL_UNKNOWN, False),
    ({"base_model": "00" * 32}, Reason.BASE_MODEL_UNKNOWN, False),
    ({"token_space": "00" * 32}, Reason.TOKEN_SPACE_UNKNOWN, False),
    ({"target_version": 0}, Reason.VERSION_NOT_NEWER, False),
    ({"base_version": 3, "target_version": 4}, Reason.BASE_MISMATCH, False),
    ({"base_digest": bytes(32)}, Reason.BASE_MISMATCH, False),
    ({"expires_unix_s": 1_600_000_000}, Reason.UPDATE_EXPIRED, False),
    ({"blob_bytes": 1 << 29}, Reason.MANIFEST_INVALID, True),
    ({"raw_bytes": 1 << 29}, Reason.MANIFEST_INVALID, True),
    ({"raw_bytes": 1 << 62}, Reason.MANIFEST_INVALID, True),
    ({"blob_digest": b"short"}, Reason.MANIFEST_INVALID, True),
    ({"base_version": 5, "target_version": 5}, Reason.MANIFEST_INVALID, True),
]


@pytest.mark.parametrize(("changes", "reason", "remembered"), BAD_MANIFESTS)
def test_a_bad_manifest_is_refused_and_never_fetched(
    tmp_path: Path, changes: dict[str, Any], reason: Reason, remembered: bool
) -> None:
    applier, runtime = make(tmp_path)
    link = FakeUpdateLink(make_update(adapter(skill=1.0), 1, **changes), stubborn=True)
    for _ in range(3):
        applier.poll(link)
    assert link.fetches == []
    assert [(r.outcome, r.reason) for r in link.reports] == [(UpdateOutcome.REFUSED, reason)]
    version = link.offers[0][0].target_version
    assert applier.failed_versions == ([version] if remembered else [])
    assert runtime.version == 0

    # A forgiven manifest says nothing about its version: a good one still brings it.
    good = FakeUpdateLink(make_update(adapter(skill=1.0), version or 1, kind=UpdateKind.FULL))
    applier.poll(good)
    assert runtime.version == (0 if remembered else version or 1)


class Marks:
    """What an owner marked; after so many reads it cannot be read."""

    def __init__(self, *marks: Mark, broken_after: int | None = None) -> None:
        self._marks = marks
        self._num_read = 0
        self.broken_after = broken_after

    def checked(self) -> Sequence[Mark]:
        if self.broken_after is not None and self._num_read >= self.broken_after:
            raise OSError("the disk is gone")
        self._num_read += 1
        return self._marks


def marked(word: int, said: int, *, hard: bool, **given: Any) -> Mark:
    return Mark(
        id=f"{word}{said}",
        unix_s=0,
        question="what?",
        said=WORDS[said],
        picture=picture(word, hard=hard),
        **given,
    )


def test_a_version_that_breaks_more_marked_answers_than_it_fixes_is_not_taken(
    tmp_path: Path,
) -> None:
    """The fake's skill changes hard answers alone: the pair's own self-check sees nothing."""
    base = FakeRuntime().answer([Question(image=picture(1, hard=True), text="what?")])[0].text
    assert base != WORDS[1]
    liked = marked(1, WORDS.index(base), hard=True, right=True)
    applier, runtime = make(tmp_path / "liked", marks=Marks(liked))
    link = FakeUpdateLink(make_update(adapter(skill=1.0), 1))
    applier.poll(link)
    assert runtime.version == 0
    assert link.reports[0].reason == Reason.OWNER_DISAGREES
    assert "breaks 1" in link.reports[0].detail
    assert link.reports[0].numbers["owner_broken"] == 1.0
    assert [change.after for change in applier.newest_marks.broken] == [WORDS[1]]

    wrong = marked(1, WORDS.index(base), hard=True, right=False, answer=WORDS[1])
    applier, runtime = make(tmp_path / "wrong", marks=Marks(wrong))
    link = FakeUpdateLink(make_update(adapter(skill=1.0), 1))
    applier.poll(link)
    assert runtime.version == 1
    assert link.reports[0].numbers["owner_fixed"] == 1.0


@pytest.mark.parametrize("reads", [0, 1])
def test_marks_that_cannot_be_read_hold_an_update_until_they_can(
    tmp_path: Path, reads: int
) -> None:
    """`reads`: before the disk fails: at the offer, or between that and the self-check."""
    marks = Marks(broken_after=reads)
    applier, runtime = make(tmp_path, marks=marks)
    link = FakeUpdateLink(make_update(adapter(skill=1.0), 1), stubborn=True)
    with capture_logs() as logs:
        for _ in range(3):
            applier.poll(link)
    assert (runtime.version, applier.failed_versions) == (0, [])
    assert link.fetches == [] or reads
    assert [r.reason for r in link.reports] == [Reason.MARKS_UNREADABLE]
    assert sum(each["event"] == "update.refused" for each in logs) == 1
    marks.broken_after = None
    applier.poll(link)
    assert runtime.version == 1


def spoilt(**changes: Any) -> tuple[Any, bytes]:
    manifest, blob = make_update(adapter(skill=1.0), 1)
    return replace(manifest, **changes), blob


@pytest.mark.parametrize(
    ("offer", "reason", "fetches"),
    [
        (spoilt(target_digest=bytes(32)), Reason.DIGEST_MISMATCH, 2),
        (spoilt(blob_digest=bytes(32)), Reason.DIGEST_MISMATCH, 2),
        ((make_update(adapter(skill=1.0), 1)[0], b"\x00" * 40), Reason.DIGEST_MISMATCH, 2),
        (make_update(adapter(skill=float("nan")), 1), Reason.PROBE_NOT_FINITE, 1),
        (make_update(adapter(harm=1.0), 1), Reason.PROBE_DISAGREES, 1),
        (make_update(adapter(crash=1.0), 1), Reason.PROBE_ERROR, 1),
    ],
)
def test_a_bad_update_fails_once_and_is_never_tried_again(
    tmp_path: Path, offer: Any, reason: Reason, fetches: int
) -> None:
    applier, runtime = make(tmp_path)
    link = FakeUpdateLink(offer, stubborn=True)
    applier.poll(link)
    assert applier.failed_versions == [1]
    again, _ = make(tmp_path)
    for _ in range(2):
        applier.poll(link)
        again.poll(link)
    assert len(link.fetches) == fetches
    assert [(r.version, r.outcome, r.reason) for r in link.reports] == [
        (1, UpdateOutcome.FAILED, reason)
    ]
    assert link.asked[-1] == (0, (1,))
    assert (runtime.version, same(runtime.adapter(), base_adapter())) == (0, True)

    applier.poll(FakeUpdateLink(make_update(adapter(skill=1.0), 2)))
    assert runtime.version == 2


def test_a_slow_version_fails_its_probe(tmp_path: Path) -> None:
    class SlowRuntime(FakeRuntime):
        """Says how long it took, as its adapter wants, without taking it."""

        def answer(self, questions: Sequence[Question], **options: Any) -> list[Answer]:
            slow_ms = float(self._adapter["slow_ms"][0]) + 1.0
            quick = FakeRuntime({**self._adapter, "slow_ms": np.zeros(1, np.float32)})
            return [
                replace(answer, model_s=slow_ms / 1e3)
                for answer in quick.answer(questions, **options)
            ]

        def trial(self, adapter: Adapter) -> Any:
            return nullcontext(SlowRuntime(adapter, -1))

    limits = ProbeLimits(latency_slack_ms=0.5, num_timed=3)
    settings = UpdateSettings(probe=limits)
    applier, runtime = make(tmp_path, SlowRuntime(), settings=settings)
    link = FakeUpdateLink(make_update(adapter(slow_ms=5.0), 1))
    applier.poll(link)
    assert link.reports[0].reason == Reason.PROBE_TOO_SLOW
    assert link.reports[0].numbers["probe_latency_ms"] == pytest.approx(6.0)
    assert runtime.version == 0


def test_a_broken_link_is_not_the_versions_fault(tmp_path: Path) -> None:
    applier, runtime = make(tmp_path)
    link = FakeUpdateLink(make_update(adapter(skill=1.0), 1))
    link.broken_fetches = 1
    with pytest.raises(LinkError):
        applier.poll(link)
    assert (applier.state.phase, applier.failed_versions, link.reports) == (Phase.IDLE, [], [])
    applier.poll(link)
    assert runtime.version == 1


def test_a_report_that_did_not_arrive_is_sent_after_a_restart(tmp_path: Path) -> None:
    applier, _ = make(tmp_path)
    link = FakeUpdateLink(make_update(adapter(harm=1.0), 1))
    link.broken_reports = 1
    assert applier.poll(link)
    assert link.reports == []
    again, _ = make(tmp_path)
    again.poll(link)
    again.poll(link)
    assert [r.version for r in link.reports] == [1]


def test_a_report_that_never_arrives_keeps_no_update_from_coming(tmp_path: Path) -> None:
    applier, runtime = make(tmp_path)
    link = FakeUpdateLink(make_update(adapter(harm=1.0), 1))
    link.broken_reports = 1_000
    applier.poll(link)
    better = FakeUpdateLink(make_update(adapter(skill=1.0), 2))
    better.broken_reports = 1_000
    assert applier.poll(better)
    assert runtime.version == 2
    assert [r.version for r in applier.state.reports] == [1, 2]


def test_reports_that_cannot_be_read_stop_no_device(tmp_path: Path) -> None:
    (tmp_path / "link" / "reports.jsonl").mkdir(parents=True)
    applier, _ = make(tmp_path)
    assert applier.poll(FakeUpdateLink(make_update(adapter(skill=1.0), 1)))


def test_reports_that_an_earlier_version_kept_with_the_link_arrive_once(tmp_path: Path) -> None:
    rows = [
        '{"version": 1, "outcome": "applied", "reason": "applied", "detail": "",'
        ' "numbers": {"apply_pause_ms": 1.5}}',
        "cut sho",
        '{"version": 2, "outcome": "failed", "reason": "probe_error", "detail": "x",'
        ' "numbers": {"loss": Infinity}}',
    ]
    (tmp_path / "link").mkdir()
    outbox = tmp_path / "link" / "reports.jsonl"
    outbox.write_text("\n".join(rows) + "\n")
    link = FakeUpdateLink()
    for _ in range(2):
        applier, _ = make(tmp_path)
        assert not outbox.exists()
    applier.poll(link)
    make(tmp_path)[0].poll(link)
    assert [(r.version, r.outcome, r.reason) for r in link.reports] == [
        (1, UpdateOutcome.APPLIED, "applied"),
        (2, UpdateOutcome.FAILED, "probe_error"),
    ]


def test_the_state_that_0_1_0_wrote_is_read(tmp_path: Path) -> None:
    state = f"""{{
        "base_model": "{BASE_MODEL}", "detail": "a weight is not finite", "num_starts": 0,
        "phase": "failed", "reason": "probe_not_finite", "target": 3, "version": 0,
        "watching": false, "reports": [{{
            "detail": "a weight is not finite", "numbers": {{"agreement": 0.5}},
            "outcome": "failed", "reason": "probe_not_finite", "version": 3}}]
    }}"""
    (tmp_path / "update.json").write_text(state)
    rows = f'''{{"failures": [
        {{"base_model": "{BASE_MODEL}", "reason": "probe_not_finite", "version": 3}},
        {{"base_model": "other", "reason": "watch_errors", "unix_s": 1.5, "version": 4}}
    ]}}'''
    (tmp_path / "failed.json").write_text(rows)
    applier, _ = make(tmp_path)
    assert applier.state == UpdateState(
        phase=Phase.FAILED,
        target=3,
        reason=Reason.PROBE_NOT_FINITE,
        detail="a weight is not finite",
        reports=(
            UpdateReport(
                version=3,
                outcome=UpdateOutcome.FAILED,
                reason="probe_not_finite",
                detail="a weight is not finite",
                numbers={"agreement": 0.5},
            ),
        ),
    )
    assert applier.failed_versions == [3]


def test_two_equal_outcomes_are_two_reports(tmp_path: Path) -> None:
    (tmp_path / "link").mkdir()
    row = '{"version": 1, "outcome": "refused", "reason": "update_expired"}\n'
    (tmp_path / "link" / "reports.jsonl").write_text(2 * row)
    link = FakeUpdateLink()
    make(tmp_path)[0].poll(link)
    assert [r.version for r in link.reports] == [1, 1]


def test_a_full_disk_leaves_the_version_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    applier, runtime = make(tmp_path)
    link = FakeUpdateLink(make_update(adapter(skill=1.0), 1))

    def full(*_: object, **__: object) -> str:
        raise OSError(28, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(applier._slots, "write_spare", full)
        with pytest.raises(OSError, match="no space"):
            applier.poll(link)
    assert (runtime.version, applier.failed_versions) == (0, [])
    applier.poll(link)
    assert runtime.version == 1


@pytest.mark.parametrize("harm", ["crash", "unsure"])
def test_the_watch_goes_back_by_itself(tmp_path: Path, harm: str) -> None:
    """Both versions pass the probe; only in the field does the new one show what it does."""
    applier, runtime = make(tmp_path)
    ask(applier, runtime, 20)
    link = FakeUpdateLink(make_update(adapter(skill=0.2), 1))
    applier.poll(link)
    spoiled = adapter(**{harm: 1.0})
    runtime.swap(spoiled, 1)
    ask(applier, runtime, 8)
    assert applier.wake.is_set()
    applier.act()
    reason = Reason.WATCH_ERRORS if harm == "crash" else Reason.WATCH_UNSURE
    assert (runtime.version, applier.state.reason) == (0, reason)
    assert same(runtime.adapter(), base_adapter())
    applier.poll(link)
    assert [(r.outcome, r.reason) for r in link.reports][-1] == (UpdateOutcome.ROLLED_BACK, reason)
    assert link.asked[-1] == (0, (1,))


def test_a_world_that_changed_is_not_the_versions_fault(tmp_path: Path) -> None:
    applier, runtime = make(tmp_path)
    ask(applier, runtime, 20)
    applier.poll(FakeUpdateLink(make_update(adapter(skill=0.2), 1)))
    ask(applier, runtime, 8, hard=True)
    applier.act()
    assert (runtime.version, applier.state.watching) == (1, False)
    assert applier.failed_versions == []


def test_a_good_version_is_trusted(tmp_path: Path) -> None:
    applier, runtime = make(tmp_path)
    applier.poll(FakeUpdateLink(make_update(adapter(skill=1.0), 1)))
    assert applier.state.watching
    ask(applier, runtime, 6)
    applier.act()
    assert not applier.state.watching
    for _ in range(MAX_WATCHED_STARTS + 1):
        _, runtime = make(tmp_path)
        assert runtime.version == 1


def test_a_version_that_kills_every_start_is_left(tmp_path: Path) -> None:
    applier, _ = make(tmp_path)
    applier.poll(FakeUpdateLink(make_update(adapter(skill=1.0), 1)))
    versions = [make(tmp_path)[1].version for _ in range(MAX_WATCHED_STARTS)]
    assert versions == [1] * (MAX_WATCHED_STARTS - 1) + [0]


def test_a_device_that_is_switched_off_often_keeps_its_version(tmp_path: Path) -> None:
    """Starts that gave answers say nothing against a version, however short they were."""
    applier, _ = make(tmp_path)
    applier.poll(FakeUpdateLink(make_update(adapter(skill=1.0), 1)))
    for _ in range(MAX_WATCHED_STARTS + 2):
        applier, runtime = make(tmp_path)
        ask(applier, runtime, 1)
        applier.act()
    assert (runtime.version, applier.state.watching) == (1, True)


def test_an_operator_goes_back_to_the_version_before(tmp_path: Path) -> None:
    applier, runtime = make(tmp_path)
    first = adapter(skill=0.1)
    applier.poll(FakeUpdateLink(make_update(first, 1)))
    second = make_update(adapter(skill=0.2), 2, base=first, base_version=1)
    applier.poll(FakeUpdateLink(second))
    applier.request_rollback(7)
    applier.act()
    assert runtime.version == 2
    applier.request_rollback(2)
    applier.act()
    assert (runtime.version, applier.failed_versions) == (1, [2])
    assert same(runtime.adapter(), first)


@pytest.mark.parametrize("broken", ["adapter.safetensors", "slot.json"])
def test_a_broken_slot_falls_back_to_the_other_then_to_the_base(
    tmp_path: Path, broken: str
) -> None:
    applier, _ = make(tmp_path)
    first = adapter(skill=0.1)
    applier.poll(FakeUpdateLink(make_update(first, 1)))
    second = make_update(adapter(skill=0.2), 2, base=first, base_version=1)
    applier.poll(FakeUpdateLink(second))
    pointer = json.loads((tmp_path / "slots" / "current.json").read_text())

    def corrupt(slot: str) -> None:
        path = tmp_path / "slots" / slot / broken
        data = bytearray(path.read_bytes())
        data[-3] ^= 0xFF
        path.write_bytes(data)

    corrupt(pointer["slot"])
    again, runtime = make(tmp_path)
    assert (runtime.version, same(runtime.adapter(), first)) == (1, True)
    assert again.state.reports[-1].reason == Reason.SLOT_CORRUPT
    # The disk failed, not the version: it may come again.
    assert again.poll(FakeUpdateLink(second))
    assert runtime.version == 2
    for slot in ("a", "b"):
        corrupt(slot)
    _, runtime = make(tmp_path)
    assert runtime.version == 0


def test_another_base_model_starts_from_its_own_base(tmp_path: Path) -> None:
    applier, _ = make(tmp_path)
    applier.poll(FakeUpdateLink(make_update(adapter(skill=0.1), 1)))
    applier.poll(
        FakeUpdateLink(make_update(adapter(harm=1.0), 2, base=adapter(skill=0.1), base_version=1))
    )

    class Other(FakeRuntime):
        base_model = "0e" * 32

    other, runtime = make(tmp_path, Other())
    assert (runtime.version, other.state.version, other.failed_versions) == (0, 0, [])


@pytest.mark.parametrize("name", ["update.json", "failed.json", "slots/current.json"])
@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"version": -1}', b"\xff\xfe"])
def test_a_broken_state_file_does_not_stop_the_device(
    tmp_path: Path, name: str, data: bytes
) -> None:
    applier, _ = make(tmp_path)
    applier.poll(FakeUpdateLink(make_update(adapter(skill=0.1), 1)))
    (tmp_path / name).write_bytes(data)
    _, runtime = make(tmp_path)
    assert runtime.version == (0 if name.endswith("current.json") else 1)
    assert runtime.answer([Question(image=picture(0), text="what?")])[0].text == "red"


def test_who_sees_the_watch_end_is_not_answered_by_the_version_that_was_left(
    tmp_path: Path,
) -> None:
    applier, runtime = make(tmp_path)
    applier.poll(FakeUpdateLink(make_update(adapter(skill=1.0), 1)))
    seen: list[tuple[bool, int]] = []
    with stages_followed(lambda _: seen.append((applier.state.watching, runtime.version))):
        applier.request_rollback(1)
        applier.act()
    assert (True, 1) in seen and seen[-1] == (False, 0)
    assert (False, 1) not in seen
