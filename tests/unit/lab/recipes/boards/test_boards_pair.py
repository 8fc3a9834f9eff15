"""The shipped pair is small, reads its source, and its teacher reads other artists better."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from driftline_lab.data.boards.views import Use, view_of
from driftline_lab.recipes.boards.evaluation import accuracy
from driftline_lab.recipes.boards.token_cache import read_boards
from driftline_lab.recipes.boards.training import Encoder
from driftline_lab.recipes.tiny.tokenizer import load_tokenizer

PAIR = Path(str(files("driftline_pairs") / "boards"))


def load(role: str) -> LlavaForConditionalGeneration:
    model = LlavaForConditionalGeneration.from_pretrained(
        PAIR / role, dtype=torch.float32, local_files_only=True
    )
    return model.eval()


def test_the_folder_stays_small() -> None:
    assert sum(path.stat().st_size for path in PAIR.rglob("*") if path.is_file()) <= 10_000_000


@pytest.mark.parametrize(("domain", "gap"), [("source", 0.0), ("tomato", 0.2)])
def test_the_teacher_knows_what_the_student_does_not(domain: str, gap: float) -> None:
    teacher, student = load("teacher"), load("student")
    encoder = Encoder(load_tokenizer(PAIR / "student"))
    numbers = [view_of(Use.TEST, 900 + i) for i in range(8)]
    boards = read_boards(student.model.vision_tower, domain, numbers)
    above, below = (accuracy(each, boards, encoder)["one_square"] for each in (teacher, student))
    assert above > 0.9
    assert below > 0.95 if domain == "source" else below < above - gap
