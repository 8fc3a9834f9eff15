"""What several test modules of runtimes use, made once."""

from __future__ import annotations

import pytest

from driftline_shared.callbacks import ignore
from driftline_shared.models.export.pair_export import export_pair
from driftline_shared.pair.pair import Pair, load_pair
from tests.fakes.family_pair import make_family_pair


@pytest.fixture(scope="session")
def clip_pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    """A random pair that reads clips of three frames, and its export, cut before layers 1 and 2."""
    folder = tmp_path_factory.mktemp("clips")
    pair = load_pair(make_family_pair(folder / "pair", "llava_onevision_video", layers=3))
    export_pair(pair, folder / "export", cuts=[1, 2], report=ignore)
    return pair, load_pair(folder / "export")
