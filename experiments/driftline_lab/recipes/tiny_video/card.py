"""The model card: recipe, data, and the accuracies that were measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from driftline_lab.data.tiny_video.questions import Kind
from driftline_lab.recipes.stages import Stages, markdown
from driftline_lab.recipes.tiny_video.evaluation import ALL, Accuracies

_INTRO = """# The video reference model `tiny-video`

A LLaVA-OneVision that reads clips of 16 frames of 64 x 64 pixels and answers short questions about
what moves, appears and changes in them. Made so that methods that drop visual tokens of a clip are
measured on something they can fail; it knows one drawn world and nothing else. Made again by
`driftline lab build-pair tiny-video OUT --seed {seed}`.

| part | |
|---|---|
| vision tower | that of `tiny`, SigLIP of 4 layers and width 128, trained on with frames of clips |
| projector | two layers; a frame's 8 x 8 patches are pooled to 4 x 4 cells |
| language model | Qwen2, 6 layers, width 192, 6 query and 2 key heads, 2.2 M weights |
| sequence | `<s>`, 16 x 16 visual tokens, a learned newline, question, line break, answer, `</s>` |

- **Data** are synthetic: `driftline_lab.data.tiny_video` draws two to five shapes over a textured
  background that stands still, with a little sensor noise. Shapes move, change their colour twice,
  appear, and vanish. Train, validation and test clips come from different seeds.
- **Questions.** motion: which way a shape moves (4 answers); order: which shape appeared first or
  last (3); count: how many shapes in all, or at the end (4 each); colour: which colour a shape had
  before it turned to one, or turned to after one (8). Answers are balanced within each.
- **Training.** {clips:,} clips, {steps:,} steps of 16 clips with up to 6 questions each. The last
  {dropped:,} steps read a part of each clip's visual tokens, {least:.0%} at least: drawn at random,
  by turns evenly, by frame, and by what tokens look like along a random direction
  (`driftline_lab.recipes.tiny_video.parts`), so that what the model knows is not kept at a few
  fixed places. No method chose them. {halved:.0%} of the steps before those read every other frame.
  Heads that are not shipped read, after layer 4, from each visual token what is there, which way it
  moves, what colour it had and when it came, and from the last token read of each frame how many
  shapes there are and were; after layer 5 which came first and last.
- **Load** it with the prompt `<s><image>{{question}}\\n` and a canvas of 64 x 64 pixels and 16
  frames. Questions and answers are lower case; an answer is one token and an end token.
- **Weights** are stored as fp16; accuracies were measured on exactly these, computed in fp32.

## Accuracy

Exact match of the greedy answer, in per cent, over the questions of the first {tested} test clips
({asked:,} at 16 frames). *Only* and *blind*: models of the same size trained by the same recipe for
{baseline_steps} steps on one frame, or on none. *Commonest answer*: the one given most often to
each question in the training clips. The short training of the former leaves room: the best guess
there is from any one frame, all its facts known, is right in 30 % of questions on motion, 69 % on
order and 52 % on colour (over 6,000 training clips, in the frame that tells most).
"""

_LIMITS = """
## Limits

- It was trained on 16 frames and on every other one of them; on more it is worse.
- Auxiliary heads taught visual tokens to carry what happened before, and the last of each frame to
  sum up. A model trained on answers alone would do so less tidily; methods that keep late frames
  and last cells profit from it.
- Nearly all words of answers are single tokens: decoding takes two steps.
"""


def write_card(
    path: Path, rows: Mapping[str, Accuracies], stages: Stages, numbers: Mapping[str, float]
) -> None:
    """Writes the card. `rows`: accuracies by what was measured; `numbers`: those of the text."""
    names = [ALL, *map(str, Kind)]
    body = [[what, *(_cell(found.get(name)) for name in names)] for what, found in rows.items()]
    lines = [
        _INTRO.format(**numbers),
        *markdown(["model", *names], body),
        "",
        f"Time taken on {stages.num_threads} shared CPU threads: {stages.taken()}.",
        _LIMITS.rstrip(),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cell(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
