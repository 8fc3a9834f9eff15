"""The recipe of `boards`: what a batch asks, how the look-up begins, a build from end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import SiglipVisionModel
from transformers.models.llama.modeling_llama import rotate_half

from driftline_lab.data.boards.positions import SQUARES
from driftline_lab.data.boards.views import Use, view, view_of
from driftline_lab.recipes.boards.build import build_boards
from driftline_lab.recipes.boards.evaluation import KEYS, accuracy
from driftline_lab.recipes.boards.language import NUM_VISUAL, STUDENT, build_model
from driftline_lab.recipes.boards.token_cache import Boards, cached_boards, read_boards
from driftline_lab.recipes.boards.tokenizer import train_tokenizer
from driftline_lab.recipes.boards.tower import labels, tower_config
from driftline_lab.recipes.boards.training import BoardsPlan, Encoder, draw_batch, train_language
from driftline_lab.recipes.stages import open_stages
from driftline_shared.models.loading import load_student
from driftline_shared.pair.pair import load_pair

PLAN = BoardsPlan(
    num_steps=4, first_steps=2, learning_rate=1e-3, pictures_per_step=3, questions_per_picture=4
)


@pytest.fixture(scope="module")
def tower() -> SiglipVisionModel:
    torch.manual_seed(0)
    return SiglipVisionModel(tower_config()).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def boards(tower: SiglipVisionModel) -> Boards:
    return read_boards(tower, "source", [view_of(Use.TRAIN, i) for i in range(6)])


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(train_tokenizer())


def test_the_name_of_a_square_is_one_token(encoder: Encoder) -> None:
    ids = {
        tuple(encoder.tokenizer.encode(f" {name}", add_special_tokens=False)) for name in SQUARES
    }
    assert len(ids) == 64
    assert all(len(each) == 1 for each in ids)
    text = "is there a black queen on rank 7?\nno"
    assert encoder.tokenizer.decode(encoder.tokenizer.encode(text)) == text


def test_the_first_phase_asks_about_squares_that_are_shown(
    boards: Boards, encoder: Encoder
) -> None:
    names = {f" {name}": square for square, name in enumerate(SQUARES)}
    for step in range(PLAN.first_steps):
        batch = draw_batch([boards], PLAN, step, encoder)
        packed, visual = batch.packed, batch.visual
        assert visual.shape[1] < 32
        for row in range(PLAN.pictures_per_step):
            shown = set((packed.position_ids[row, 1 : 1 + visual.shape[1]] - 1).tolist())
            words = [encoder.tokenizer.decode([i]) for i in packed.input_ids[row].tolist()]
            asked = [names[word] for word in words if word in names]
            assert len(asked) == PLAN.questions_per_picture
            assert set(asked) <= shown
        assert len(batch.holds) == PLAN.pictures_per_step * PLAN.questions_per_picture


def test_a_step_is_the_same_whenever_it_is_drawn(boards: Boards, encoder: Encoder) -> None:
    first, again, other = (draw_batch([boards], PLAN, step, encoder) for step in (3, 3, 2))
    assert torch.equal(first.packed.input_ids, again.packed.input_ids)
    assert torch.equal(first.visual, again.visual)
    assert not torch.equal(first.holds, other.holds)


def test_a_word_begins_by_looking_at_its_square(
    tower: SiglipVisionModel, boards: Boards, encoder: Encoder
) -> None:
    model = build_model(STUDENT, encoder.tokenizer, tower, boards.tokens, seed=0)
    language = model.model.language_model
    layer = language.layers[0]
    ids = [encoder.tokenizer.encode(f" {n}", add_special_tokens=False)[0] for n in SQUARES]
    with torch.no_grad():
        seen = model.model.multi_modal_projector(torch.from_numpy(boards.tokens[0]).float())
        right = 0
        for square, word in enumerate(ids):
            states = torch.cat([seen, language.embed_tokens.weight[[word]]])
            cos, sin = language.rotary_emb(states[None], torch.tensor([[*range(1, 65), 68]]))
            heads = [
                projection(layer.input_layernorm(states)).unflatten(-1, (-1, 32)).transpose(0, 1)
                for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj)
            ]
            asked, keys = (each * cos + rotate_half(each) * sin for each in heads)
            scores = (asked[:, -1:] @ keys[:, :-1].transpose(1, 2)).mean(dim=0)[0]
            right += int(scores.argmax()) == square
    assert right > 16  # of 64; one by chance


def test_training_goes_on_where_it_stopped(
    tower: SiglipVisionModel, boards: Boards, encoder: Encoder, tmp_path: Path
) -> None:
    def trained(*stops: int) -> torch.Tensor:
        for stop in stops:
            model = build_model(STUDENT, encoder.tokenizer, tower, boards.tokens, seed=0)
            path = tmp_path / f"{stops}.safetensors"
            plan = BoardsPlan(
                num_steps=4, first_steps=2, warmup_steps=9, learning_rate=1e-3,
                pictures_per_step=2, questions_per_picture=2,
            )  # fmt: skip

            def halt(step: int, loss: float, stop: int = stop) -> None:
                if step + 1 == stop:
                    raise InterruptedError

            try:
                train_language(
                    model, [boards], plan, encoder, halt, checkpoint=path, checkpoint_steps=1
                )
            except InterruptedError:
                continue
        return model.lm_head.weight.detach()

    assert torch.equal(trained(9), trained(3, 9))


def test_labels_are_of_a_set_and_not_of_a_piece() -> None:
    first, second = view("atopdown", 1), view("tomato", 1)
    pieces = {int(each) for each in labels(first)} - {0}
    others = {int(each) for each in labels(second)} - {0}
    assert pieces
    assert not pieces & others
    assert (labels(first)[first.squares == 0] == 0).all()


def test_cached_views_read_back(tower: SiglipVisionModel, tmp_path: Path) -> None:
    made = cached_boards(tmp_path, tower, "tomato", [4, 5])
    again = cached_boards(tmp_path, tower, "tomato", [4, 5])
    np.testing.assert_array_equal(made.tokens, again.tokens)
    np.testing.assert_array_equal(made.squares, again.squares)
    assert len(cached_boards(tmp_path, tower, "tomato", [4]).numbers) == 1


def test_accuracy_is_reported_by_kind(
    tower: SiglipVisionModel, boards: Boards, encoder: Encoder
) -> None:
    model = build_model(STUDENT, encoder.tokenizer, tower, boards.tokens, seed=0).eval()
    found = accuracy(model, boards, encoder)
    assert tuple(found) == KEYS
    assert all(0 <= value < 0.5 for value in found.values())
    assert boards.tokens.shape[1] == NUM_VISUAL


@pytest.mark.slow
def test_a_trial_build_is_a_pair_that_answers(tmp_path: Path) -> None:
    threads, console = torch.get_num_threads(), Console(quiet=True)
    work, out = tmp_path / "work", tmp_path / "pair"
    for _ in range(2):  # the second time nothing is trained
        with open_stages(work, seed=0, share=1e-6, num_threads=threads, console=console) as stages:
            build_boards(out, stages)
    pair = load_pair(str(out))
    assert pair.name == "boards"
    assert len(pair.gate["entropy"]) > 0
    assert len(pair.probe_set()) == 64
    student = load_student(pair)
    picture = view("ada", view_of(Use.TEST, 0)).picture
    seen = student.project(student.encode([picture]))
    batch = student.batch(seen, torch.arange(64)[None], ["what stands on e4?"])
    assert len(student.generate(batch, 3).tokens[0]) in (1, 2, 3)
    assert "| student | one square |" in (out / "README.md").read_text(encoding="utf-8")
