"""Folder and database are compared while another process releases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from driftline_cloud.identity import check_versions
from driftline_cloud.intake.database import Database
from driftline_cloud.release.manifests import Lineage
from driftline_cloud.release.packer import pack_exact
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_shared.errors import ConfigError
from tests.fakes.adapters import LINE, lora_adapter, trained

READS = (
    (ReleaseRegistry, "newest_version"),
    (RoundLedger, "open_round"),
    (RoundLedger, "versions"),
    (RoundLedger, "newest_done"),
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(f"sqlite:///{tmp_path / 'cloud.sqlite'}", durable=False)
    yield found
    found.close()


@pytest.fixture
def registry(tmp_path: Path) -> ReleaseRegistry:
    found = ReleaseRegistry(tmp_path / "releases")
    found.open_line(LINE, lora_adapter())
    return found


def publish(registry: ReleaseRegistry) -> str:
    """Version 1 into the folder; the digest of what it leads to."""
    base = registry.canonical(LINE.id, 0)
    lineage = Lineage(round_id="r1", num_samples=1, created_unix_s=1)
    manifest = registry.publish(LINE.id, pack_exact(base, trained(base, 1)), lineage)
    return manifest.target_digest.hex()


@pytest.mark.parametrize("moment", range(len(READS)))
def test_a_release_between_two_reads_is_no_other_day(
    registry: ReleaseRegistry,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    moment: int,
) -> None:
    reads: list[str] = []

    def watched(name: str, read: Callable[..., Any]) -> Callable[..., Any]:
        def before(*args: Any) -> Any:
            reads.append(name)
            if len(reads) == moment + 1:
                monkeypatch.undo()
                digest = publish(registry)
                ledger = RoundLedger(database)
                ledger.add_version(LINE.id, 1, round_id="r1", digest=digest, now_unix_s=1)
            return read(*args)

        return before

    for kind, name in READS:
        monkeypatch.setattr(kind, name, watched(name, getattr(kind, name)))
    check_versions(registry, database, LINE.id)
    assert len(reads) == moment + 1, "the release took place"


def test_a_database_of_an_earlier_day_is_told(
    registry: ReleaseRegistry, database: Database
) -> None:
    publish(registry)
    with pytest.raises(ConfigError, match="the database is older than the state folder"):
        check_versions(registry, database, LINE.id)
