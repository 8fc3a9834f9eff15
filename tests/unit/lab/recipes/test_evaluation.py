"""Packed accuracy counts what real decoding counts: `generate` is the oracle."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch
from transformers import LlavaForConditionalGeneration

from driftline_lab.data.domains import DOMAINS
from driftline_lab.data.easyvqa import Part, image_ids
from driftline_lab.recipes.tiny.evaluation import accuracy
from driftline_lab.recipes.tiny.questions import Encoder
from driftline_lab.recipes.tiny.tokenizer import load_tokenizer, prompt
from driftline_lab.recipes.tiny.tower import normalize_pixels
from driftline_lab.recipes.tiny.views import Gallery


def test_packed_accuracy_equals_the_share_of_exact_greedy_answers(tmp_path: Path) -> None:
    # Reworded questions: the student gets some right and some wrong.
    domain, ids = DOMAINS["reworded"], image_ids(Part.CALIBRATION)[:6]
    with as_file(files("driftline_pairs") / "tiny" / "student") as folder:
        model = LlavaForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        ).eval()
        tokenizer = load_tokenizer(folder)
    right = []
    for image_id in ids:
        pixels = normalize_pixels(domain.picture(image_id)[None])
        for example in domain.questions(image_id):
            text = prompt(example.question).replace("<image>", "<image>" * 64)
            asked = tokenizer(text, add_special_tokens=False, return_tensors="pt")
            with torch.inference_mode():
                told = model.generate(
                    input_ids=asked["input_ids"],
                    attention_mask=asked["attention_mask"],
                    pixel_values=pixels,
                )
            answer = told[0, asked["input_ids"].shape[1] :]
            right.append(tokenizer.decode(answer, skip_special_tokens=True) == example.answer)

    gallery = Gallery(
        folder=tmp_path, tower=model.model.vision_tower, encoder=Encoder(tokenizer=tokenizer)
    )
    views = gallery.views("reworded", Part.CALIBRATION)[: len(ids)]
    start_id, pad_id = tokenizer.bos_token_id, tokenizer.pad_token_id
    measured = accuracy(model, views, start_id=start_id, pad_id=pad_id)
    assert 0 < sum(right) < len(right)
    assert measured == np.mean(right)
