"""Where Ray keeps its sessions: its sockets' paths are short."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from driftline_cloud.workers.cluster.sessions import MOST_FOLDER_BYTES, session_folder
from driftline_shared.errors import ConfigError

LONG = "/" + MOST_FOLDER_BYTES * "a"


def test_a_short_folder_is_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", LONG[:MOST_FOLDER_BYTES])
    assert session_folder({}) is None
    assert session_folder({"RAY_TMPDIR": "/short"}) is None


def test_a_long_one_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", LONG)
    found = session_folder({}, ["/not/there", str(tmp_path)])
    assert found is not None and Path(found).parent == tmp_path
    assert session_folder({"RAY_TMPDIR": LONG}, [str(tmp_path)]) == found


def test_where_nothing_is_short_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", LONG)
    with pytest.raises(ConfigError, match=LONG) as raised:
        session_folder({}, [])
    assert "RAY_TMPDIR" in raised.value.fix
