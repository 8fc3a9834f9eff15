"""What doctor and status say of signatures: required, believed until, and what to do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from driftline_cloud.signing.files import ROOT_DAYS
from driftline_device.doctor.signatures import check_signatures
from driftline_device.show.text import _signatures
from driftline_shared.trust.credentials import CHAIN, IDENTITY, UPDATE_ROOT
from tests.fakes.signing import DAY_S, SigningCloud, ask, new_device


def test_doctor_says_whether_updates_are_believed(tmp_path: Path) -> None:
    state = tmp_path / "device"
    cloud = SigningCloud(state=tmp_path / "cloud")
    assert "not asked for" in check_signatures(state, None, None).found
    folder = state / IDENTITY
    folder.mkdir(parents=True)
    (folder / CHAIN).write_bytes(b"a chain")
    assert "unsigned" in check_signatures(state, None, None).found
    (folder / UPDATE_ROOT).write_bytes(cloud.signing.root)
    assert "not asked yet" in check_signatures(state, None, None).found
    device = new_device(cloud, state)
    ask(cloud, device)
    told = check_signatures(state, None, None)
    assert told.verdict == "ok" and "believed until" in told.found
    status = {"update": {"signatures": {"reason": "signature_invalid", "detail": "why"}}}
    told = check_signatures(state, None, status)
    assert told.verdict == "warn" and "signature_invalid, why" in told.found and told.fix


def test_a_root_that_ends_soon_is_told_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "device"
    cloud = SigningCloud(state=tmp_path / "cloud")
    (state / IDENTITY).mkdir(parents=True)
    (state / IDENTITY / UPDATE_ROOT).write_bytes(cloud.signing.root)
    now_s = cloud.now_s()
    for days, verdict in ((ROOT_DAYS - 60, "ok"), (ROOT_DAYS - 50, "warn")):
        monkeypatch.setattr("time.time", lambda days=days: now_s + days * DAY_S)
        told = check_signatures(state, None, None)
        assert told.verdict == verdict
    assert "the root ends on" in told.found and "keys renew" in told.fix


def test_ended_metadata_is_told_with_its_fix(tmp_path: Path) -> None:
    state = tmp_path / "device"
    cloud = SigningCloud(state=tmp_path / "cloud", ahead_s=-2 * DAY_S)
    (state / IDENTITY).mkdir(parents=True)
    (state / IDENTITY / UPDATE_ROOT).write_bytes(cloud.signing.root)
    device = new_device(cloud, state)
    ask(cloud, device)
    told = check_signatures(state, None, {"update": {"signatures": asdict(device.status)}})
    assert "metadata_expired" in told.found and "has not signed lately" in told.fix
    (line,) = _signatures(asdict(device.status))
    assert "metadata_expired" in line and "keys show" in line
    assert _signatures({}) == []
