"""One export of the random pair for all tests of this folder: it takes seconds to make."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_shared.models.export.pair_export import Exported, export_pair
from driftline_shared.pair.pair import Pair


@pytest.fixture(scope="session")
def exported(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    """The folder, and what was told of it."""
    folder = tmp_path_factory.mktemp("export") / "random"
    return folder, export_pair(pair, folder, report=lambda _: None)


@pytest.fixture(scope="session")
def folder(exported: tuple[Path, Exported]) -> Path:
    return exported[0]
