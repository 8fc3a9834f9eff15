"""Pages as text: hostile words stay words, every list is bounded, every hold is a sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.page import views
from driftline_cloud.page.charts import accuracy_chart, bytes_chart
from driftline_cloud.page.fleet import Offer, held_by
from driftline_cloud.page.frame import Frame
from driftline_cloud.page.log import log_page
from driftline_cloud.page.text import lasted, percent, size, when
from driftline_cloud.page.values import (
    ApartFacts,
    Asked,
    CorrectionFacts,
    DeviceDetail,
    DeviceFacts,
    LineFacts,
    ReportFacts,
    RoundFacts,
    VersionFacts,
)
from driftline_cloud.rollout.audit import AuditEntry
from driftline_cloud.rollout.store import Reach
from driftline_shared.status import WorkerStatus
from tests.fakes.html import Reader

HOSTILE = "<script>alert(1)</script>\"'&\x1b[2J\u202e"
FRAME = Frame(path="/", cloud_id="c" * 32, now_s=1_700_000_100.0)
NUMBERS = {
    "gate.base_agreement": 0.61,
    "gate.candidate_agreement": 0.82,
    "gate.candidate_source_accuracy": 0.99,
    "update.update_bytes": 7_100.0,
}
ROUND = RoundFacts(
    id="r1",
    line="l",
    number=1,
    state="done",
    is_open=False,
    num_samples=3,
    base_version=0,
    target_version=1,
    reason=HOSTILE,
    trigger=HOSTILE,
    num_starts=0,
    num_errors=0,
    created_unix_s=1_700_000_000,
    seconds=90,
    numbers={**NUMBERS, HOSTILE: 1.0},
)
DEVICE = DeviceFacts(
    device_id=HOSTILE,
    line=HOSTILE,
    adapter_version=1,
    enrolled_unix_s=1,
    last_seen_unix_s=1_700_000_000,
    last_report=HOSTILE,
    held=HOSTILE,
)
LINE = LineFacts(
    line=HOSTILE,
    newest_version=1,
    num_samples=1,
    num_waiting=1,
    num_quarantined=0,
    num_devices=1,
    num_rounds=1,
    by_version={1: 1},
    held=(HOSTILE,),
    driver=HOSTILE,
    lease_unix_s=1,
    workers=(WorkerStatus(owner=HOSTILE, state="blocked", reason=HOSTILE),),
    rounds=(replace(ROUND, is_open=True, state="gating"), ROUND),
)
APART = ApartFacts(
    sample_id="00" * 16,
    line=HOSTILE,
    device_id=HOSTILE,
    round_id=HOSTILE,
    reason=HOSTILE,
    detail=HOSTILE,
    quarantined_unix_s=1,
)
VERSION = VersionFacts(
    line=HOSTILE,
    version=1,
    round_id=HOSTILE,
    released_unix_s=1,
    update_bytes=1,
    num_devices=1,
    state="stopped",
    phase="1 of 3",
    share=0.05,
    reason=HOSTILE,
)
DONE = AuditEntry(
    sequence=1, at_unix_s=1, who=HOSTILE, action=HOSTILE, line=HOSTILE, version=None, detail=HOSTILE
)
REPORT = ReportFacts(version=1, outcome=HOSTILE, reason=HOSTILE, detail=HOSTILE, received_unix_s=1)
ASKED = Asked(line=HOSTILE, search=HOSTILE)
LINES = [HOSTILE, "other"]

PAGES = {
    "lines": views.lines_page(FRAME, [LINE]),
    "rounds": views.rounds_page(FRAME, 1, [ROUND], ASKED, LINES),
    "round": views.round_page(FRAME, ROUND),
    "versions": views.versions_page(FRAME, [VERSION], [DONE], ASKED, LINES),
    "devices": views.devices_page(FRAME, 1, [DEVICE], ASKED, LINES),
    "device": views.device_page(
        FRAME,
        DeviceDetail(
            device=DEVICE, reports=(REPORT,), num_samples=1, num_waiting=1, num_quarantined=0
        ),
    ),
    "quarantine": views.quarantine_page(FRAME, 1, [APART], ASKED, LINES),
    "corrections": views.corrections_page(
        FRAME,
        CorrectionFacts(
            num_waiting=1,
            num_answered=1,
            oldest_unix_s=1,
            devices=((HOSTILE, 1, 1),),
            no_answer={HOSTILE: 1},
        ),
    ),
    "log": log_page(FRAME, [DONE], ASKED, LINES),
    "fault": views.fault_page(FRAME, "Not shown", HOSTILE),
}


@pytest.mark.parametrize("name", PAGES)
def test_hostile_words_stay_words(name: str) -> None:
    page = PAGES[name]
    assert "<script>alert(1)</script>" in Reader(page).text
    assert "<script" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page


EMPTY = {
    "lines": views.lines_page(FRAME, []),
    "rounds": views.rounds_page(FRAME, 0, [], Asked(), []),
    "versions": views.versions_page(FRAME, [], [], Asked(), []),
    "devices": views.devices_page(FRAME, 0, [], Asked(), []),
    "quarantine": views.quarantine_page(FRAME, 0, [], Asked(), []),
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_list_is_a_sentence(name: str) -> None:
    assert 'class="note">No ' in EMPTY[name]


def test_a_page_leads_to_the_rows_before_and_after_and_keeps_what_was_asked() -> None:
    frame = replace(FRAME, path="/devices", query={"search": "a b", "offset": "50"})
    asked = Asked(search="a b", offset=50)
    page = views.devices_page(frame, 200, [DEVICE] * 50, asked, ["one"])
    assert "/devices?search=a+b&amp;offset=100" in page
    assert '<a href="/devices?search=a+b">before</a>' in page
    assert "51 to 100 of 200" in page


def test_a_live_page_loads_itself_again_and_another_does_not() -> None:
    live = views.lines_page(replace(FRAME, refresh_s=7), [])
    assert '<meta http-equiv="refresh" content="7">' in live
    assert "http-equiv" not in views.lines_page(FRAME, [])


def test_a_round_of_a_paused_line_stands() -> None:
    """Also in the seconds in which its worker, which has yet to see that, still drives it."""
    line = replace(LINE, line="l", progress=0.4)
    for state, said in (
        ("active", "Round 1 is gating, 40 % of it done"),
        ("paused", "Round 1 stands at gating, with 3 samples."),
        ("dropped", "Round 1 stands at gating"),
    ):
        assert said in Reader(views.lines_page(FRAME, [replace(line, state=state)])).text


def test_charts_have_a_point_a_round_and_say_when_there_is_none() -> None:
    second = replace(ROUND, number=2, state="rejected")
    assert str(accuracy_chart([second, ROUND], "a")).count("<circle") == 6
    assert str(bytes_chart([second, ROUND], "b")).count("<circle") == 1  # a rejected one ships none
    assert "no round has measured it yet" in accuracy_chart([], "c")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_a_curve_stays_inside_its_chart(values: list[float]) -> None:
    rounds = [
        replace(ROUND, number=number, numbers={"gate.base_agreement": value})
        for number, value in enumerate(values, 1)
    ]
    drawn = str(accuracy_chart(rounds, "a"))
    heights = [float(part.split('"')[0]) for part in drawn.split(' cy="')[1:]]
    assert heights and all(0 <= height <= 190 for height in heights)


EVERYONE = Offer(newest=3, reach=Reach(settled=3))


@pytest.mark.parametrize(
    ("version", "report", "unseen_s", "offer", "said"),
    [
        (3, "applied 3: applied", 10.0, EVERYONE, ""),
        (3, "", 10.0, EVERYONE, ""),
        (2, "applied 2: applied", 10.0, EVERYONE, "Behind: it has version 2, 3 is offered."),
        (2, "rolled_back 3: probe_worse_really", 10.0, EVERYONE, "Update 3 rolled back. probe"),
        (2, "failed 3: internal", 200_000.0, EVERYONE, "Not seen for 2 days. Update 3 failed."),
        (2, "", 10.0, Offer(newest=3, reach=Reach(settled=2)), "Version 3 has not come to its"),
        (3, "", 10.0, Offer(newest=3, reach=Reach(settled=0, is_closed=True)), "Its line offers"),
        (2, HOSTILE, 10.0, EVERYONE, "Update"),
    ],
)
def test_what_holds_a_device_is_a_sentence(
    version: int, report: str, unseen_s: float, offer: Offer, said: str
) -> None:
    found = held_by("d1", version, report, unseen_s, offer)
    assert found.startswith(said) if said else found == ""


def test_numbers_are_written_for_people() -> None:
    assert [lasted(each) for each in (0, 61, 3_600, 90_061)] == [
        "0 s",
        "1 min 1 s",
        "1 h",
        "1 d 1 h",
    ]
    assert [size(each) for each in (999, 7_100, 2.5e6, 3e9)] == [
        "999 B",
        "7.1 KB",
        "2.5 MB",
        "3.0 GB",
    ]
    assert (percent(0.5), percent(0.825)) == ("50 %", "82.5 %")
    assert (when(0), when(1e30)) == ("–", "1e+30")
    assert when(1_700_000_000) == "2023-11-14 22:13:20"
