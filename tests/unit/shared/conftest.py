"""One random pair for all tests of the models folder: it takes seconds to make."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from driftline_shared.pair.pair import Pair, load_pair
from tests.fakes.tiny_pair import make_tiny_pair


@pytest.fixture(scope="session")
def pair_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def copy(pair_dir: Path, tmp_path: Path) -> Path:
    """The pair in a folder that a test may spoil."""
    return Path(shutil.copytree(pair_dir, tmp_path / "copy"))


@pytest.fixture(scope="session")
def pair(pair_dir: Path) -> Pair:
    return load_pair(pair_dir)
