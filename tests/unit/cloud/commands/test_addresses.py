"""Which cloud a command speaks to."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_cloud.commands.addresses import address_of
from driftline_shared.errors import ConfigError, LinkError
from driftline_shared.host.lock import state_lock


def test_a_cloud_on_this_machine_is_found_by_its_folder(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("4711\n")
    assert address_of(None, tmp_path) == "127.0.0.1:4711"


def test_a_folder_that_no_cloud_runs_on_is_not_another_cloud(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match=r"no cloud runs on .*empty"):
        address_of(None, tmp_path / "empty")


def test_a_cloud_that_was_killed_is_none(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("4711\n")
    with state_lock(tmp_path):
        assert address_of(None, tmp_path) == "127.0.0.1:4711"
    with pytest.raises(LinkError, match="no cloud runs on"):
        address_of(None, tmp_path)


def test_without_a_word_it_is_the_configured_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTLINE_CLOUD_STATE", str(tmp_path))
    assert address_of(None, None) == "127.0.0.1:7443"


@pytest.mark.parametrize("address", ["here", "here:", ":1", "here:0", "here:99999999", "here:x"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="is not host:port"):
        address_of(address, None)


def test_an_address_is_taken_as_it_is() -> None:
    assert address_of("cloud.example:7443", None) == "cloud.example:7443"
