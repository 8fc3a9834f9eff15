"""fit-token-space: what it writes is what the device then reads; broken images are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from driftline_shared.errors import DataError, PairError
from driftline_shared.models.cli import app
from driftline_shared.models.fit.calibration_images import folder_set, question_set, read_picture
from driftline_shared.models.fit.fitting import Fitted, fit_images, fit_stored
from driftline_shared.models.loading import load_student
from driftline_shared.pair.pair import Canvas, load_draft, load_pair
from tests.fakes.families import FAMILIES
from tests.fakes.family_pair import make_unfitted_pair, write_calibration


def photos(folder: Path, count: int) -> Path:
    """Images, one broken file, and questions about all of them, one row broken."""
    first, *others = write_calibration(folder, count).read_text().splitlines()
    (folder / "broken.png").write_bytes(b"\x89PNG no image")
    outside, broken = (
        json.dumps({"image": name, "question": "what?", "answer": "none"})
        for name in ("../0.png", "broken.png")
    )
    (folder / "source.jsonl").write_text("\n".join([first, outside, *others, broken]) + "\n")
    return folder


def fitted_on(folder: Path, count: int) -> Fitted:
    """Fit the pair in `folder` on that many photos beside it."""
    images = folder_set(photos(folder.parent / "photos", count), limit=20)
    return fit_images(load_draft(folder), images, lambda _: None)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_fitted_from_images_and_questions(family: str, tmp_path: Path) -> None:
    folder, images = make_unfitted_pair(tmp_path / "pair", family), photos(tmp_path / "photos", 3)
    given = question_set(images, images / "source.jsonl", limit=10)
    fitted = fit_images(load_draft(folder), given, lambda _: None)
    pair = load_pair(folder)
    source = pair.source_set()
    assert fitted.num_images == 3 and fitted.num_rows == len(source.rows) == 9
    assert "broken.png" in fitted.broken[0]
    assert source.tokens.shape == (3, pair.token_space.grid.num_tokens, pair.token_space.width)
    model = load_student(pair)
    own = model.encode([read_picture(images / "1.png", pair.canvas)])[0].numpy()
    np.testing.assert_allclose(source.tokens[1], own, atol=2e-3, rtol=2e-3)
    space, values = pair.token_space, source.tokens.reshape(-1, source.tokens.shape[-1])
    inside = (values >= space.low - 1e-5) & (values <= space.high + 1e-5)
    assert inside.mean() > 0.99 * (1 - 2 / len(values))
    assert len(pair.probe_set()) == 9


def test_tokens_beyond_float16_are_kept_in_float32(tmp_path: Path) -> None:
    folder = make_unfitted_pair(tmp_path / "pair", "llava")
    for side in ("teacher", "student"):
        file = folder / side / "model.safetensors"
        held = load_file(file)
        name = next(name for name in held if "position_embedding" in name)
        held[name][0, 0] = 2e5
        save_file(held, file, metadata={"format": "pt"})
    images = photos(tmp_path / "photos", 3)
    given = question_set(images, images / "source.jsonl", limit=10)
    fitted = fit_images(load_draft(folder), given, lambda _: None)
    source = load_pair(folder).source_set()
    assert np.isfinite(source.tokens).all() and np.abs(source.tokens).max() > 1e5
    assert fit_stored(load_draft(folder)).width == fitted.width


def test_only_its_own_keys_are_written_and_comments_stay(tmp_path: Path) -> None:
    folder = make_unfitted_pair(tmp_path / "pair", "llava")
    before = (folder / "pair.toml").read_text().splitlines()
    fitted_on(folder, 3)
    after = (folder / "pair.toml").read_text().splitlines()
    assert [line for line in before if line and "digest" not in line] == [
        line for line in after if line and not line.startswith(("digest", "grid"))
    ]
    assert any(line.endswith("# written by the fit") for line in after)
    assert not (folder / "source.jsonl").exists()


def test_stored_tokens_give_what_was_shipped(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(load_pair("tiny").dir, tmp_path / "tiny"))
    shipped = load_file(folder / "token_space.safetensors")
    (folder / "token_space.safetensors").unlink()
    assert fit_stored(load_draft(folder)).digest == load_pair("tiny").token_space.digest
    again = load_file(folder / "token_space.safetensors")
    np.testing.assert_array_equal(again["low"], shipped["low"])
    np.testing.assert_array_equal(again["high"], shipped["high"])
    np.testing.assert_allclose(again["precision"], shipped["precision"], rtol=1e-4, atol=1e-4)


def test_other_towers_get_a_translator_with_its_error(tmp_path: Path) -> None:
    folder = make_unfitted_pair(tmp_path / "pair", "llava", teacher_tower=1)
    fitted = fitted_on(folder, 8)
    spec = load_pair(folder).spec.translator
    assert spec is not None and spec.relative_error == fitted.translator_error
    assert (folder / "translator.safetensors").is_file()
    with pytest.raises(PairError, match="--images"):
        fit_stored(load_draft(folder))
    result = CliRunner().invoke(app, ["check", str(folder), "--json"])
    findings = json.loads(result.output)["findings"]
    assert any("translator" in f["what"] and f["level"] != "error" for f in findings)


def test_tokens_that_fit_no_memory_are_refused_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftline_shared.models.fit.fitting.MAX_SOURCE_BYTES", 2_500)
    folder = make_unfitted_pair(tmp_path / "pair", "llava")
    with pytest.raises(PairError, match="--limit 2 or less"):
        fitted_on(folder, 3)


def test_images_are_spread_and_read_on_the_canvas(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 9)
    assert len(folder_set(folder, 4).paths) == 4
    pixels = read_picture(folder / "0.png", Canvas(height=8, width=12, frames=3))
    assert pixels.shape == (3, 8, 12, 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        folder_set(tmp_path / "empty", 4)
    with pytest.raises(DataError, match="cannot be read"):
        question_set(folder, Path(shutil.copy(folder / "broken.png", tmp_path / "x.txt")), 4)


def test_one_readable_image_is_too_few(tmp_path: Path) -> None:
    folder = make_unfitted_pair(tmp_path / "pair", "llava")
    with pytest.raises(DataError, match="two at least"):
        fitted_on(folder, 1)
