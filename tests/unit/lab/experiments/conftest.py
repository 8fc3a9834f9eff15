"""One random pair with its models, and a store of results, for all tests of runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from driftline_cloud.distill.student import Models, load_models
from driftline_lab.replay.cache.store import ResultStore
from driftline_shared.models.adapters import slots
from tests.fakes.tiny_pair import make_tiny_pair


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Loaded once; the student holds what the test before left there."""
    return load_models(make_tiny_pair(tmp_path_factory.mktemp("pair")))


@pytest.fixture
def models(loaded: Models) -> Models:
    """With the student at version 0."""
    slots.write(loaded.student.model, loaded.initial)
    return loaded


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ResultStore]:
    """Shared by the tests: what one has worked out, another one reads."""
    found = ResultStore(tmp_path_factory.mktemp("cache"))
    yield found
    found.close()
