"""Workers by name."""

from __future__ import annotations

import pytest

from driftline_cloud.workers.table import make_workers
from driftline_shared.errors import ConfigError


def test_an_unknown_kind_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="local, ray"):
        make_workers("spark")


def test_local_workers_load_nothing_until_they_work() -> None:
    make_workers("local").close()
