"""What the doctor says of who may speak to a cloud."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from driftline_cloud.config import CloudConfig, load_config
from driftline_cloud.doctor.trust import check_authority
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


def test_an_authority_is_left_unused_on_loopback_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="loopback"):
        _config(tmp_path, listen="0.0.0.0:7443", **{"trust.insecure": True})
