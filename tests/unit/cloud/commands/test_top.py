"""`driftline cloud top`: a frame of a status, and looks at a cloud that is there or not."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from driftline_cloud.cli import app as cloud_app
from driftline_cloud.commands import top_cli
from driftline_cloud.commands.top import MOST_DEVICES, device_state, frame
from driftline_shared.errors import LinkError
from driftline_shared.rpc import status as rpc_status
from driftline_shared.status import (
    CloudStatus,
    DeviceStatus,
    LineStatus,
    RoundStatus,
    WorkerStatus,
)

NOW_S = 1_700_000_000.0
HOSTILE = "[bold]\x1b[2J\u202eevil"
DEVICE = DeviceStatus(device_id="d1", adapter_version=2, last_seen_unix_s=int(NOW_S) - 9)
LINE = LineStatus(
    line="tiny-1",
    newest_version=2,
    num_samples=1_234,
    num_waiting=56,
    num_rounds=3,
    round=RoundStatus(
        round_id="r3", state="labelling", num_samples=9, target_version=3, progress=0.5
    ),
    devices=(DEVICE,),
    num_devices=1,
)
STATUS = CloudStatus(cloud_id="c" * 32, version="0.1.0", lines=(LINE,))


def drawn(found: CloudStatus) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(frame(found, now_s=NOW_S, address="127.0.0.1:7443"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_frame_shows_every_line_and_what_is_missing() -> None:
    text = drawn(replace(STATUS, lines=(LINE, replace(LINE, line="smol-2"))))
    assert "tiny-1" in text and "smol-2" in text
    assert "labelling" in text and "1,234" in text
    assert "tiny-1: no worker, samples wait" in text
    assert "1 well" in text


def test_hostile_names_do_nothing_to_a_terminal() -> None:
    stuck = DeviceStatus(
        device_id=HOSTILE, adapter_version=0, last_seen_unix_s=0, last_report=f"failed 1: {HOSTILE}"
    )
    worker = WorkerStatus(owner=HOSTILE, state="blocked", reason=HOSTILE)
    text = drawn(replace(STATUS, lines=(replace(LINE, devices=(stuck,), workers=(worker,)),)))
    assert "\x1b" not in text and "\u202e" not in text
    assert "[bold]" in text


def test_dropped_and_paused_lines_are_said_and_want_no_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = LineStatus(
        line="old-1", newest_version=3, num_samples=7, num_waiting=2, num_rounds=4,
        state="dropped", pair="old",
    )  # fmt: skip
    found = replace(STATUS, lines=(replace(LINE, state="paused"), gone))
    text = drawn(found)
    assert "dropped" in text and "(paused)" in text and "old-1: no worker" not in text
    monkeypatch.setattr(rpc_status, "fetch_status", lambda *_a, **_k: found)
    run = CliRunner().invoke(cloud_app, ["status", "--address", "127.0.0.1:7"])
    assert run.exit_code == 0
    assert "line old-1 is dropped" in run.stdout and "add old`" in run.stdout


def test_a_frame_names_a_bounded_number_of_stuck_devices() -> None:
    behind = tuple(replace(DEVICE, device_id=f"d{n:04}", adapter_version=0) for n in range(500))
    text = drawn(replace(STATUS, lines=(replace(LINE, devices=behind, num_devices=9_000),)))
    assert text.count("behind") == MOST_DEVICES + 1
    assert "500 behind (of the first 500)" in text


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "well"),
        ({"adapter_version": 1}, "behind"),
        ({"last_seen_unix_s": 0}, "unseen for a day"),
        ({"last_report": "rolled_back 2: internal"}, "rolled back"),
        ({"last_report": "applied 2: applied"}, "well"),
    ],
)
def test_a_device_is_one_word(changes: dict[str, object], state: str) -> None:
    assert device_state(replace(DEVICE, **changes), 2, NOW_S) == state  # type: ignore[arg-type]


def test_one_look_is_a_frame_or_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_status, "fetch_status", lambda *_a, **_k: STATUS)
    run = CliRunner().invoke(top_cli.app, ["--address", "127.0.0.1:7", "--once"])
    assert run.exit_code == 0 and "tiny-1" in run.stdout
    run = CliRunner().invoke(top_cli.app, ["--address", "127.0.0.1:7", "--once", "--json"])
    assert json.loads(run.stdout)["lines"][0]["line"] == asdict(STATUS)["lines"][0]["line"]


def test_a_cloud_that_goes_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    def fetch(*_a: object, **_k: object) -> CloudStatus:
        looks.append("look")
        if len(looks) == 2:
            raise LinkError("nobody answers")
        if len(looks) == 4:
            raise KeyboardInterrupt
        return STATUS

    monkeypatch.setattr(rpc_status, "fetch_status", fetch)
    monkeypatch.setattr(top_cli.time, "sleep", lambda _s: None)
    run = CliRunner().invoke(top_cli.app, ["--address", "127.0.0.1:7"])
    assert run.exit_code == 0
    assert len(looks) == 4
