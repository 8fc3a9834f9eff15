"""The model card of the pair: recipe, data, and the accuracies that were measured."""

from __future__ import annotations

from pathlib import Path

from driftline_lab.recipes.stages import Stages, kept, markdown

Measured = dict[str, dict[float, dict[str, float]]]
"""{role: {share of visual tokens: {domain: accuracy in 0..1}}}"""

_INTRO = """# The reference pair `tiny`

A teacher and a student LLaVA that read the same 64 visual tokens of a 64 x 64 picture and answer
short questions about it. Made for trying the loop on a CPU in minutes; it knows one toy world and
nothing else. Made again by `driftline lab build-pair tiny OUT`.

| | teacher | student |
|---|---|---|
| language model | Llama, 4 layers, width 256, 3.4 M | Llama, 2 layers, width 192, 1.1 M |
| trained on | source and all drifts, then augmented, too | source only |
| vision tower | SigLIP, 4 layers, width 128, source only, frozen | the same, bit for bit |

- **Data.** [easy-VQA](https://github.com/vzhou842/easy-VQA) (Victor Zhou, MIT): 5,000 pictures,
  48,248 questions. Its test set is ours (1,000 pictures); its 4,000 train pictures are
  split by image id into 3,000 train, 300 calibration and 700 stream. No picture is in two parts.
- **Drifts are synthetic**: night, fog, texture, sketch, inverted, reworded, drawn by
  `driftline_lab.drift`. The teacher has seen them on train pictures only. The phrasings of
  `reworded` are one fixed set: the teacher has read all of them, about other pictures; the
  student none.
- **A teacher in two stages**: source and drifts, then these among augmented pictures (drawing
  styles, tone, blurs along random walks, noise of a random spectrum, covers;
  `driftline_lab.recipes.tiny.augmentation`), seven draws in thirteen being of what it knows.
- **Never trained on: ImageNet-C's corruptions** (`corrupt-…`). No recipe can import them; the
  augmentations are none of them. Two families chose the second stage's settings (*development*).
- **Prompt** `<s><image>{question}\\n`, answer, `</s>`. `<image>` stands for 64 tokens. Questions
  and answers are lower case; an answer is spelt in one to three pieces and an end token.
- **Positions.** Visual token v is at position 1 + v and the question starts at 65, however many
  visual tokens are given. Both models were trained on random subsets (100, 75, 50, 25 %).
- **Weights** are stored as fp16; accuracies were measured on exactly these, computed in fp32.

## Accuracy

Exact match of the greedy answer, in per cent. From all tokens: every question of the 1,000 test
pictures. From a random part of the tokens: the first 120 test pictures, about 1,150 questions a
domain, so a difference below 2 points says little.
"""


_UNSEEN = """
## Drift that no model was trained for

`driftline lab bench corruptions` measures it, and `driftline lab docs` writes it here in a
checkout: exact match of the greedy answer in per cent with the half-width of a 95 % interval,
pictures being drawn; all tokens. Severity 3 is the domain `corrupt-FAMILY`, severity 5 is
`corrupt-FAMILY-5`.

<!-- table: corruptions -->
<!-- /table -->
"""

_LIMITS = """
## Limits

- The drifts are drawings of drift, and the teacher has seen these very drifts; on one that neither
  has seen it is ahead by much less, and where the student is above 90 % there is little to learn.
- Words are those of easy-VQA: any other colour or shape is called by one of the known words.
- The student has read one phrasing style only; `reworded` is out of its reach before adaptation.
"""


def write_card(path: Path, measured: Measured, stages: Stages) -> None:
    """Writes the card: recipe, accuracies, time taken by each stage, limits."""
    lines = [
        _INTRO,
        *_table(measured),
        "",
        f"Time taken on {stages.num_threads} CPU threads, token caches included: {stages.taken()}.",
        _UNSEEN.rstrip(),
        _LIMITS.rstrip(),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(measured: Measured) -> list[str]:
    shares = list(next(iter(measured.values())))
    domains = list(measured["teacher"][shares[0]])
    body = [
        [role, kept(share), *(f"{100 * by_domain[domain]:.1f}" for domain in domains)]
        for role, by_share in measured.items()
        for share, by_domain in by_share.items()
    ]
    return markdown(["model", "visual tokens", *domains], body)
