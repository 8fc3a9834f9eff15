"""A device that asks for a signed pair runs no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from driftline_device.config import load_config
from driftline_device.doctor.examination import check_pair
from driftline_device.program.service import ask_once, run_device
from driftline_shared.errors import PairError, Reason
from driftline_shared.pair.signed import sign_pair
from driftline_shared.signing.folders.keys import make_key
from tests.fakes.tiny_pair import make_tiny_pair


def test_an_unsigned_or_changed_pair_is_not_run(tmp_path: Path) -> None:
    key, pair = make_key(tmp_path / "k"), make_tiny_pair(tmp_path / "pair", num_images=4)
    picture = tmp_path / "it.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(picture)
    flags = {"state": tmp_path / "state", "pair": str(pair), "pair_key": str(tmp_path / "k.pub")}
    config = load_config(None, flags, {})
    starts = (
        lambda: run_device(config, (), hold=False),
        lambda: ask_once(config, picture, "what is it?"),
    )
    _refused(starts, "is not signed")
    sign_pair(str(pair), key)
    found, read = check_pair(str(pair), key.id)
    assert read is not None and f"signed by {key.id[:16]}" in found.found
    (pair / "student" / "config.json").write_text("{}")
    _refused(starts, r"student/config\.json has 2 bytes")
    found, read = check_pair(str(pair), key.id)
    assert (found.verdict, read) == ("fail", None) and "models sign" in found.fix


def _refused(starts: Iterable[Callable[[], object]], why: str) -> None:
    for start in starts:
        with pytest.raises(PairError, match=why) as caught:
            start()
        assert caught.value.reason is Reason.PAIR_UNTRUSTED
