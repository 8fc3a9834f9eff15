"""Tests keep their drawings to themselves, not in the user's cache, and draw some icons there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from driftline_lab.data.emoji.packages import packages_folder
from tests.fakes.icon_packages import write_packages


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        write_packages(packages_folder())
        yield
