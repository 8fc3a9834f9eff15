"""Translators: positions, fits that are known, errors on images that were held out, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from driftline_shared.errors import DataError, PairError
from driftline_shared.models.fit import translator_fit
from driftline_shared.models.fit.translation import cell_map, num_merged, translator_bytes
from driftline_shared.models.fit.translator import (
    TranslatedTeacher,
    Translator,
    load_translator,
    merge_cells,
)
from driftline_shared.models.fit.translator_fit import fit_translator
from driftline_shared.models.loading import load_teacher
from driftline_shared.pair.pair import Pair
from driftline_shared.tokens import Grid
from tests.fakes.tiny_pair import QUESTIONS

GRID = Grid(rows=4, cols=4)


def _tokens(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_cell_goes_where_its_centre_lies() -> None:
    assert cell_map(GRID, GRID).tolist() == list(range(16))
    assert cell_map(GRID, Grid(rows=2, cols=2)).tolist() == [
        *(0, 0, 1, 1, 0, 0, 1, 1),
        *(2, 2, 3, 3, 2, 2, 3, 3),
    ]
    assert num_merged(GRID, Grid(rows=2, cols=2)) == 12
    finer = cell_map(Grid(rows=2, cols=2), Grid(rows=6, cols=6))
    assert finer.tolist() == [7, 10, 25, 28] and num_merged(GRID, Grid(rows=27, cols=27)) == 0
    clip = cell_map(Grid(frames=4, rows=1, cols=1), Grid(frames=2, rows=1, cols=1))
    assert clip.tolist() == [0, 0, 1, 1]
    for rows in range(1, 30):
        for others in range(1, 30):
            centres = (np.arange(rows) + 0.5) / rows * others
            found = cell_map(Grid(rows=rows, cols=1), Grid(rows=others, cols=1))
            assert np.array_equal(found, np.floor(centres + 1e-12))


def test_tokens_of_one_cell_are_averaged_and_cells_rise() -> None:
    tokens = _tokens(0, 2, 4, 3)
    cells = torch.tensor([[0, 1, 0, 1], [0, 1, 4, 3]])
    merged = merge_cells(tokens, cells, 6)
    assert merged.cells.tolist() == [[0, 1, 2, 3], [0, 1, 3, 4]]
    assert merged.filled.tolist() == [[True, True, False, False], [True] * 4]
    torch.testing.assert_close(merged.tokens[0, 0], tokens[0, [0, 2]].mean(0))
    torch.testing.assert_close(merged.tokens[0, 1], tokens[0, [1, 3]].mean(0))
    torch.testing.assert_close(merged.tokens[1], tokens[1, [0, 1, 3, 2]])
    rising = merge_cells(tokens, torch.tensor([[0, 1, 2, 3], [1, 2, 4, 5]]), 6)
    assert rising.tokens is tokens


def test_a_linear_map_is_found_exactly() -> None:
    x, weight, bias = 3 * _tokens(0, 12, 16, 8) + 1, _tokens(1, 8, 6), _tokens(2, 6)
    found, error = fit_translator(x, x @ weight + bias, GRID, GRID)
    torch.testing.assert_close(found.tensors["weight"], weight, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.tensors["bias"], bias, atol=1e-5, rtol=1e-5)
    assert error.relative_error < 1e-9 and error.cosine > 1 - 1e-9


def test_a_map_of_low_rank_is_found_with_its_rank() -> None:
    x = _tokens(0, 12, 16, 8)
    y = x @ _tokens(1, 8, 2) @ _tokens(2, 2, 6) + 5.0
    found, error = fit_translator(x, y, GRID, GRID, rank=2)
    assert found.tensors["down"].shape == (8, 2) and found.tensors["up"].shape == (2, 6)
    assert error.relative_error < 1e-9
    torch.testing.assert_close(found(x), y, atol=1e-4, rtol=1e-4)
    _, coarse = fit_translator(x, y, GRID, GRID, rank=1)
    assert coarse.relative_error > 0.05


def test_the_error_is_of_images_that_were_not_fitted_on() -> None:
    # More channels than tokens: the fit itself is perfect, and worth nothing.
    x, y = _tokens(0, 10, 16, 96), _tokens(1, 10, 16, 6)
    _, error = fit_translator(x, y, GRID, GRID)
    assert error.relative_error > 0.9 and abs(error.cosine) < 0.2
    assert error.num_images == 2 and error.num_tokens == 32
    # What it says is what a second look at images of the same kind shows.
    weight = _tokens(2, 96, 6)
    x = _tokens(0, 60, 16, 96)
    y = x @ weight + 5.0 * _tokens(3, 60, 16, 6)
    found, error = fit_translator(x[:30], y[:30], GRID, GRID)
    residual = (found(x[30:]) - y[30:]).square().mean((0, 1))
    fresh = float((residual / y[30:].var((0, 1))).mean())
    assert error.relative_error == pytest.approx(fresh, rel=0.15)
    assert 0.15 < fresh < 0.5


def test_an_mlp_finds_what_a_linear_map_cannot() -> None:
    x = _tokens(0, 40, 16, 6)
    y = (x @ _tokens(1, 6, 6)).abs()
    _, linear = fit_translator(x, y, GRID, GRID)
    _, error = fit_translator(x, y, GRID, GRID, kind="mlp")
    assert linear.relative_error > 0.8 and error.relative_error < 0.5 * linear.relative_error


def test_an_mlp_of_one_seed_is_one_mlp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translator_fit, "NUM_STEPS", 50)
    x = _tokens(0, 10, 16, 6)
    y = (x @ _tokens(1, 6, 6)).abs()
    first, second = (fit_translator(x, y, GRID, GRID, kind="mlp", seed=3) for _ in range(2))
    assert first[1] == second[1] and torch.equal(first[0](x), second[0](x))
    assert "inner" in first[0].tensors and bool(first[0].tensors["outer"].any())


def test_coarser_teachers_are_fitted_cell_by_cell() -> None:
    coarse = Grid(rows=2, cols=2)
    theirs = _tokens(0, 12, 4, 5)
    ours = theirs[:, torch.from_numpy(cell_map(GRID, coarse))]
    found, error = fit_translator(ours, theirs, GRID, coarse)
    assert error.relative_error < 1e-9 and error.num_tokens == 2 * 16
    torch.testing.assert_close(found(ours), ours, atol=1e-5, rtol=1e-5)


def test_tokens_that_do_not_fit_are_refused() -> None:
    x = _tokens(0, 6, 16, 4)
    with pytest.raises(DataError, match="at least 5 images, not 4"):
        fit_translator(x[:4], x[:4], GRID, GRID)
    with pytest.raises(DataError, match="6 images of the student, 5 of the teacher"):
        fit_translator(x, x[:5], GRID, GRID)
    with pytest.raises(DataError, match="do not fit its grid"):
        fit_translator(x, x, GRID, Grid(rows=2, cols=2))
    with pytest.raises(DataError, match="the teacher's tokens are not finite"):
        fit_translator(x, torch.full_like(x, torch.inf), GRID, GRID)


def test_sizes_are_known_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translator_fit, "NUM_STEPS", 1)
    found, _ = fit_translator(_tokens(0, 6, 16, 8), _tokens(1, 6, 16, 6), GRID, GRID, kind="mlp")
    count = sum(tensor.numel() for tensor in found.tensors.values())
    assert translator_bytes(8, 6, "mlp") == 4 * count
    assert translator_bytes(12288, 5120) == 4 * (12288 * 5120 + 5120)
    with pytest.raises(PairError, match=r"MiB, 1024 are allowed; set \[translator\] rank"):
        translator_bytes(65536, 8192)
    assert translator_bytes(65536, 8192, rank=512) < 160 << 20


@pytest.mark.parametrize(("kind", "rank"), [("linear", 0), ("linear", 2), ("mlp", 0), ("mlp", 3)])
def test_a_saved_translator_is_read_back_the_same(
    kind: str, rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translator_fit, "NUM_STEPS", 50)
    x, y = _tokens(0, 6, 16, 8), _tokens(1, 6, 4, 6)
    other = Grid(rows=2, cols=2)
    found, _ = fit_translator(x, y, GRID, other, kind=kind, rank=rank)  # type: ignore[arg-type]
    path = tmp_path / "translator.safetensors"
    found.save(path)
    read = load_translator(path, GRID, other)
    assert (read.kind, read.student_width, read.teacher_width) == (kind, 8, 6)
    assert torch.equal(read(x), found(x))
    with pytest.raises(PairError, match="fitted for teacher_grid 1x2x2, this pair has 1x4x4"):
        load_translator(path, GRID, GRID)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "translator.safetensors"
    with pytest.raises(PairError, match="is missing"):
        load_translator(path, GRID, GRID)
    path.write_bytes(b"\x08\0\0\0\0\0\0\0garbage!")
    with pytest.raises(PairError, match="cannot be read"):
        load_translator(path, GRID, GRID)
    Translator.identity(4, GRID).save(path)
    held = load_file(path)
    grids = {"student_grid": "1x4x4", "teacher_grid": "1x4x4"}
    save_file({**held, "inner": torch.zeros(4, 2)}, path, metadata=grids)
    with pytest.raises(PairError, match="holds no translator"):
        load_translator(path, GRID, GRID)
    save_file({**held, "bias": torch.full((4,), torch.nan)}, path, metadata=grids)
    with pytest.raises(PairError, match="bias is not finite float32"):
        load_translator(path, GRID, GRID)


def test_an_identity_translator_changes_no_answer(pair: Pair) -> None:
    teacher = load_teacher(pair)
    width = pair.token_space.width
    wrapped = TranslatedTeacher(teacher, Translator.identity(width, teacher.grid))
    tokens = torch.from_numpy(pair.source_set().tokens[:3])
    for kept in (16, 5):
        order = np.random.default_rng(kept).permutation(16)[:kept]
        positions = torch.from_numpy(np.sort(order))[None].expand(3, -1)
        some = tokens.gather(1, positions[:, :, None].expand(-1, -1, width))
        said = [
            model.generate(model.batch(model.project(some), positions, QUESTIONS), 4)
            for model in (teacher, wrapped)
        ]
        assert said[0].tokens == said[1].tokens
        np.testing.assert_array_equal(said[0].top1, said[1].top1)


def test_cells_that_are_not_filled_are_as_if_they_were_not_there(pair: Pair) -> None:
    """A coarse teacher: rows of one batch fill different numbers of cells, and answer as alone."""
    teacher = load_teacher(pair)
    width, fine = pair.token_space.width, Grid(rows=8, cols=8)
    eye = {"weight": torch.eye(width), "bias": torch.zeros(width)}
    wrapped = TranslatedTeacher(
        teacher, Translator(tensors=eye, student_grid=fine, teacher_grid=teacher.grid)
    )
    positions = torch.tensor([[0, 1, 8, 9], [0, 2, 20, 63], [3, 4, 50, 51]])
    projected = wrapped.project(_tokens(0, 3, 4, width))
    answers = [(5, 6, 2), (7, 2), (8, 2)]
    for tails in (None, answers):
        batch = wrapped.batch(projected, positions, QUESTIONS, tails)
        together = wrapped.forward(batch).logits
        for row in range(3):
            one = slice(row, row + 1)
            alone = wrapped.batch(
                projected[one], positions[one], QUESTIONS[one], tails and tails[one]
            )
            assert alone.visual.shape[1] == (1, 4, 3)[row]
            real = batch.attention_mask[row].bool()
            assert torch.equal(batch.position_ids[row][real], alone.position_ids[0])
            torch.testing.assert_close(
                together[row][real], wrapped.forward(alone).logits[0], atol=2e-4, rtol=1e-4
            )
    said = wrapped.generate(wrapped.batch(projected, positions, QUESTIONS), 4)
    for row in range(3):
        one = slice(row, row + 1)
        alone = wrapped.batch(projected[one], positions[one], QUESTIONS[one])
        assert wrapped.generate(alone, 4).tokens[0] == said.tokens[row]


def test_a_translator_for_another_teacher_is_refused(pair: Pair) -> None:
    other = Translator.identity(pair.token_space.width, Grid(rows=2, cols=2))
    with pytest.raises(PairError, match="leads to 1x2x2 tokens, the teacher reads 1x4x4"):
        TranslatedTeacher(load_teacher(pair), other)
