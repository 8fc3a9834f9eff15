"""What the doctor says of who may speak to a cloud."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from driftline_cloud.config import CloudConfig, load_config
from driftline_cloud.doctor.trust import check_authority, check_signing
from driftline_cloud.signing.ceremony import make_signing
from driftline_cloud.signing.files import ROOT_DAYS
from driftline_cloud.trust.authority import ISSUING_DAYS, make_authority
from driftline_shared.errors import ConfigError


def _config(state: Path, **settings: object) -> CloudConfig:
    return load_config(None, {"state": state, **settings}, environment={})


def test_a_cloud_without_an_authority_is_for_this_machine(tmp_path: Path) -> None:
    assert check_authority(_config(tmp_path)).verdict == "ok"
    found = check_authority(_config(tmp_path, listen="0.0.0.0:7443"))
    assert found.verdict == "fail" and "does not start" in found.found


def test_an_authority_is_looked_at_for_what_will_go_wrong(tmp_path: Path) -> None:
    made = make_authority(tmp_path, name="tests")
    assert "root" in check_authority(_config(tmp_path)).found
    (tmp_path / "trust" / "root.key").unlink()
    found = check_authority(_config(tmp_path))
    assert found.verdict == "ok" and made.fingerprint[:16] in found.found
    now = datetime.now(UTC)
    soon = check_authority(_config(tmp_path), now + timedelta(days=ISSUING_DAYS - 30))
    assert soon.verdict == "warn"
    late = check_authority(_config(tmp_path), now + timedelta(days=ISSUING_DAYS + 1))
    assert late.verdict == "fail" and "ended on" in late.found
    assert check_authority(_config(tmp_path, **{"trust.insecure": True})).verdict == "warn"
    (tmp_path / "trust" / "issuing.key").write_bytes(b"nonsense")
    assert check_authority(_config(tmp_path)).verdict == "fail"


def test_the_ends_of_what_signs_updates_are_told_in_time(tmp_path: Path) -> None:
    config, now = _config(tmp_path), datetime.now(UTC)
    assert check_signing(config).verdict == "ok"
    make_authority(tmp_path, name="tests")
    assert "keys init" in check_signing(config).fix
    files = make_signing(tmp_path, now_s=now.timestamp(), timestamp_days=1)
    assert "3 of its keys are still here" in check_signing(config).found
    for path in files.root_keys_here():
        path.unlink()
    assert check_signing(config).verdict == "ok"
    stray = files.root(1).with_name("notes.json")
    stray.write_text("{}")
    assert "notes.json is no metadata" in check_signing(config).found
    stray.unlink()
    for days, verdict, found, fix in (
        (2, "warn", "the last timestamp ended on", "cloud serve"),
        (170, "warn", "the metadata of targets ends on", "cloud serves"),
        (ROOT_DAYS - 50, "warn", "the root ends on", "keys renew"),
        (ROOT_DAYS + 1, "fail", "the root ended on", "keys renew"),
    ):
        told = check_signing(config, now + timedelta(days=days))
        assert told.verdict == verdict and found in told.found and fix in told.fix
    files.role("snapshot").write_bytes(b"nonsense")
    assert check_signing(config).verdict == "fail"


def test_an_authority_is_left_unused_on_loopback_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="loopback"):
        _config(tmp_path, listen="0.0.0.0:7443", **{"trust.insecure": True})
