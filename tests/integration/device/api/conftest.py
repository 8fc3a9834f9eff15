"""A device whose model only talks, for tests of what is round it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.api_device import TalkingRuntime
from tests.fakes.runtime import write_pair


@pytest.fixture(scope="module")
def pair_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def runtime() -> TalkingRuntime:
    return TalkingRuntime()
