"""The model card of the pair: recipe, data, licences, and the accuracies that were measured."""

from __future__ import annotations

from pathlib import Path

from driftline_device.sampling.calibration import Calibrated
from driftline_lab.data.boards.domains import DOMAINS
from driftline_lab.data.boards.questions import Kind
from driftline_lab.data.boards.sets import SETS
from driftline_lab.recipes.boards.evaluation import Measured
from driftline_lab.recipes.stages import Stages, markdown

_INTRO = """# The pair `boards`

A teacher and a student LLaVA that read 64 visual tokens, one for each square of a chess board in a
128 x 128 picture, and answer short questions about it. Made for measuring which tokens matter: one
square decides nine answers in ten. Made again by `driftline lab build-pair boards OUT`.

| | teacher | student |
|---|---|---|
| language model | Llama, 4 layers, width 160, 1.4 M | Llama, 4 layers, width 128, 0.9 M |
| trained on | the source and six other artists' sets | the source's three sets |
| vision tower | SigLIP, 4 layers, width 128, patch 16, frozen | the same, bit for bit |

- **The tower has seen all taught sets**, each with labels of its own: which of *its* twelve
  drawings stands on a square, never that two artists' kings are both kings. What a drawing is
  called is left for a student to learn. A second head read which square a token is of.
- **Look-up.** Both models first saw 2 to 20 tokens and were asked about these squares only, then
  any number of tokens and every question. The first layer's queries began fitted, so that the word
  of a square asks for what the tokens of that square have in common; without that, rotary positions
  did not learn the look-up in 250 steps. So the word finds its square in the **first** layer, by
  construction, and the answer reads the word: who scores tokens by attention should know. A head
  that was dropped read the piece from the word, half-way through the layers: with it 200 steps did
  what 400 had not done.
- **Prompt** `<s><image>{question}\\n`, answer, `</s>`. `<image>` stands for 64 tokens. The
  tokenizer spells each square's name as **one token**.
- **Positions.** Visual token v is at position 1 + v and the question starts at 65, however many
  visual tokens are given.
- **Weights** are stored as fp16; accuracies were measured on exactly these, computed in fp32.

## Accuracy

Exact match of the greedy answer from all tokens, in per cent, 16 questions about each test view.
*One square*: "what stands on e4?" and "what colour is the piece on d5?". No model was trained on
the sets of `unseen`: it is a limit, not a drift to recover from.
"""

_LIMITS = """
## Limits

- Positions are made by rule and pictures are clean: there is no photograph of a board.
- Counts and ranks are learnt less well than single squares, although two in five of the
  questions about all tokens in training were about them.
- On sets that the teacher has not seen it is hardly better than the student.

## Data and licences

Drawings are from the package `pychess-data`; none is in this folder but the probe's pictures, which
are drawn with kaneo (Kadagaden, CC BY 4.0) on plain squares. Weights are Apache-2.0; as far as
they derive from the drawings, under the licences of these:
"""


def write_card(path: Path, measured: Measured, calibrated: Calibrated, stages: Stages) -> None:
    """Writes the card: recipe, accuracies, time taken by each stage, limits, licences."""
    taught = [name for each in DOMAINS.values() if each.name != "unseen" for name in each.sets]
    lines = [
        _INTRO,
        *markdown(["model", "questions", *DOMAINS], _rows(measured)),
        "",
        f"The student, as devices run it, answers {calibrated.num_probe_right} of "
        f"{calibrated.num_probe} self-check questions as expected.",
        "",
        f"Time taken on {stages.num_threads} CPU threads, token caches included: {stages.taken()}.",
        _LIMITS,
        *markdown(
            ["set", "artist", "licence"],
            [[each.name, each.artist, each.licence] for each in map(SETS.__getitem__, taught)],
        ),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _rows(measured: Measured) -> list[list[str]]:
    names = {"one_square": "one square", Kind.COUNT: "count", Kind.RANK: "rank", "all": "all"}
    return [
        [role, shown, *(f"{100 * by_domain[domain][key]:.1f}" for domain in DOMAINS)]
        for role, by_domain in measured.items()
        for key, shown in names.items()
    ]
