"""token_codec.safetensors: read back to the same tables, or refused with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from driftline_shared.codec.transform.file import FILE, load_transform, save_transform
from driftline_shared.errors import PairError
from driftline_shared.tokens import Grid
from tests.fakes.transforms import made_transform

TRANSFORM = made_transform(Grid(rows=4, cols=6), 16)


def test_tables_come_back_with_their_digest(tmp_path: Path) -> None:
    assert load_transform(tmp_path, 16) is None
    save_transform(TRANSFORM, tmp_path)
    found = load_transform(tmp_path, 16)
    assert found is not None and found.digest == TRANSFORM.digest
    assert (found.scale, found.unit) == (TRANSFORM.scale, TRANSFORM.unit)
    for name in ("mean", "basis", "log_scales", "frequencies"):
        assert (getattr(found, name) == getattr(TRANSFORM, name)).all()


def test_other_tables_have_another_digest(tmp_path: Path) -> None:
    save_transform(TRANSFORM, tmp_path)
    arrays = load_file(tmp_path / FILE)
    arrays["log_scales"] = arrays["log_scales"] + np.int16(1)
    save_file(arrays, tmp_path / FILE)
    found = load_transform(tmp_path, 16)
    assert found is not None and found.digest != TRANSFORM.digest


def flat(arrays: dict[str, Any]) -> None:
    arrays["frequencies"] = np.full_like(arrays["frequencies"], 2048 + 1)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays: arrays.pop("basis"),
        lambda arrays: arrays.update(more=arrays["mean"]),
        lambda arrays: arrays.update(basis=arrays["basis"][:5]),
        lambda arrays: arrays.update(basis=arrays["basis"].astype(np.int32)),
        lambda arrays: arrays.update(log_scales=arrays["log_scales"][:0]),
        lambda arrays: arrays.update(log_scales=arrays["log_scales"][0]),
        lambda arrays: arrays.update(mean=np.full(16, np.nan, np.float32)),
        lambda arrays: arrays.update(mean=np.full((1, 16), 0, np.float32)),
        lambda arrays: arrays.update(sizes=np.array([0.0, 1.0])),
        lambda arrays: arrays.update(sizes=np.array([1.0, np.inf])),
        lambda arrays: arrays.update(sizes=np.array([1.0, 0.75])),
        flat,
    ],
)
def test_what_cannot_be_decoded_with_is_refused(tmp_path: Path, spoil: Any) -> None:
    save_transform(TRANSFORM, tmp_path)
    arrays = load_file(tmp_path / FILE)
    spoil(arrays)
    save_file(arrays, tmp_path / FILE)
    with pytest.raises(PairError, match="fit-token-codec"):
        load_transform(tmp_path, 16)


def test_tables_of_another_width_or_no_file_at_all_are_refused(tmp_path: Path) -> None:
    save_transform(TRANSFORM, tmp_path)
    with pytest.raises(PairError, match="16 channels, the pair's 17"):
        load_transform(tmp_path, 17)
    (tmp_path / FILE).write_bytes(b"no tables")
    with pytest.raises(PairError, match="fit-token-codec"):
        load_transform(tmp_path, 16)
