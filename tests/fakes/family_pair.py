"""A whole pair of tiny random checkpoints of any family, fitted by the product's own commands."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_device.sampling.calibration import calibrate
from driftline_shared.models.fit.calibration_images import question_set
from driftline_shared.models.fit.fitting import fit_images
from driftline_shared.pair.pair import load_draft, load_pair
from tests.fakes.families import FAMILIES, noise
from tests.fakes.tiny_pair import ANSWERS, QUESTIONS

_SPEC = """# a pair of one's own
name = "random-{family}"        # short
prompt = {prompt}
max_new_tokens = 4
[student]
quantization = "nf4"
[token_space]
digest = ""  # written by the fit
{image}
[adapter]
rank = 4
alpha = 8.0
"""


def make_family_pair(
    folder: Path, family: str, *, num_images: int = 8, teacher_tower: int = 0, layers: int = 2
) -> Path:
    """Write and fit a random pair of `family`; its answers mean nothing, its files are whole."""
    made = make_unfitted_pair(folder, family, teacher_tower=teacher_tower, layers=layers)
    file = made / "pair.toml"
    questions = write_calibration(folder.parent / "calibration", num_images)
    fit_images(
        load_draft(file), question_set(questions.parent, questions, num_images), lambda *_: None
    )
    pair = load_pair(file)
    calibrate(pair, TorchRuntime(pair), lambda *_: None)
    return folder


def make_unfitted_pair(
    folder: Path, family: str, *, teacher_tower: int = 0, layers: int = 2
) -> Path:
    """Write the checkpoints and pair.toml only; `layers` of the student.

    `teacher_tower`: another seed than 0 gives the teacher a tower of its own, and so a translator.
    """
    fake, image = FAMILIES[family], ""
    fake.make_checkpoint(folder / "teacher", width=64, layers=3, tower_seed=teacher_tower)
    fake.make_checkpoint(folder / "student", width=32, layers=layers)
    if fake.CANVAS is not None:
        sides = ", ".join(f"{name} = {pixels}" for name, pixels in asdict(fake.CANVAS).items())
        image = f"image = {{{sides}}}"
    spec = _SPEC.format(family=family, prompt=json.dumps(fake.PROMPT), image=image)
    (folder / "pair.toml").write_text(spec)
    return folder


def write_calibration(folder: Path, num_images: int) -> Path:
    """Random pictures and a JSONL of questions about them; the path of the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(num_images):
        Image.fromarray(noise(48, 48, seed=number)).save(folder / f"{number}.png")
        for question, answer in zip(QUESTIONS, ANSWERS, strict=True):
            rows.append({"image": f"{number}.png", "question": question, "answer": answer})
    file = folder / "source.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
