"""Where artifacts are kept, as an operator sets it, looks at it and copies it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from driftline_cloud.backup.backup import make_backup
from driftline_cloud.config import load_config
from driftline_cloud.doctor.machine import check_store
from driftline_shared.callbacks import ignore
from driftline_shared.errors import ConfigError, MissingPackageError
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers
from tests.fakes.rounds import open_cloud, run_rounds, send


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("file:///somewhere", "is a URL"),
        ("ftp://host/x", "is a URL"),
        ("s3://", "is a URL"),
        ("/a/folder", "is a URL"),
        ("s3://key:secret@bucket/x", "credentials"),
        ("s3://bucket/x?secret=1", "credentials"),
    ],
)
def test_what_is_no_store_or_holds_a_secret_is_refused(url: str, word: str) -> None:
    with pytest.raises(ConfigError, match=f"storage.artifacts.*{word}") as refused:
        load_config(None, {"storage.artifacts": url}, {})
    assert "secret" not in str(refused.value)


def test_a_driver_that_is_not_installed_is_named() -> None:
    from driftline_cloud.blobs.remote import open_remote

    with pytest.raises(MissingPackageError, match="needs"):
        open_remote("gs://bucket/x").get("one")  # its driver is no dependency of ours


def test_doctor_and_backup_know_of_the_store(tmp_path: Path) -> None:
    state, url = tmp_path / "state", "memory://settings-1"
    cloud = open_cloud(state, ReckoningWorkers(), FakeClock())
    send(cloud, range(40))
    run_rounds(cloud)
    cloud.close()
    config = load_config(None, {"state": state, "storage.artifacts": url}, {})
    lacking = check_store(config)
    assert lacking.verdict == "warn" and "lacks 6 blobs" in lacking.found
    cloud = open_cloud(state, ReckoningWorkers(), FakeClock(), artifacts=url)
    cloud.close()
    assert check_store(config).verdict == "ok"
    assert check_store(load_config(None, {"state": state}, {})).found == "in the state folder"
    done = make_backup(state, tmp_path / "copy", ignore, artifacts=url)
    said = json.loads((tmp_path / "copy" / "backup.json").read_text())
    assert said["not_copied"] == done.not_copied == f"{url}/rounds: what rounds under way keep"
