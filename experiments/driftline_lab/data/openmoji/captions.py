"""Caption scores: CIDEr and BLEU (pycocoevalcap's pure-Python scorers), and exact name match.

The package's other scorers need Java; these two need numpy. Captions are tokenised here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from driftline_lab.data.openmoji.concepts import concepts
from driftline_lab.data.openmoji.questions import CAPTION_QUESTION, caption, reference_captions
from driftline_shared.errors import MissingPackageError

MAX_ORDER = 4
_WORD = re.compile(r"[a-z0-9]+(?:[-'][a-z0-9]+)*")
_ARTICLES = frozenset({"a", "an", "the"})


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionScores:
    """How good captions are over a test set.

    `cider`: 0..10, as pycocoevalcap computes it; `cider_best`: what the references themselves
    would get, less than 10 because captions of two or three words have no longer n-grams.
    `bleu`: BLEU-1, BLEU-2 ..., 0..1 over the whole set, up to the most words a reference has and
    four at most. `name_match`: share of captions that name the thing, their article aside.
    """

    num_captions: int
    cider: float
    cider_best: float
    bleu: tuple[float, ...]
    name_match: float


def score_captions(captions: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """Scores of `captions[i]` beside right ones, `references[i]`, of which the first is best.

    CIDEr weighs words by how few of these pictures they are right for: two sets' are not the same
    scale. Raises ConfigError when pycocoevalcap is missing, ValueError for no captions at all.
    """
    if not captions or len(captions) != len(references):
        raise ValueError(f"{len(captions)} captions for {len(references)} pictures")
    cider, bleu = _scorers()
    right = {i: [tokenise(text) for text in texts] for i, texts in enumerate(references)}
    given = {i: [tokenise(text)] for i, text in enumerate(captions)}
    order = min(MAX_ORDER, max(len(text.split()) for texts in right.values() for text in texts))
    names = [{_name(text) for text in texts} for texts in right.values()]
    return CaptionScores(
        num_captions=len(captions),
        cider=float(cider().compute_score(right, given)[0]),
        cider_best=float(cider().compute_score(right, {i: t[:1] for i, t in right.items()})[0]),
        bleu=tuple(float(each) for each in bleu(order).compute_score(right, given, verbose=0)[0]),
        name_match=sum(_name(text[0]) in names[i] for i, text in given.items()) / len(captions),
    )


def scores_of(rows: Iterable[tuple[str, str, str]]) -> CaptionScores | None:
    """Scores over the rows (question, true answer, answer) that ask for a caption; None if none."""
    found = [(said, truth) for question, truth, said in rows if question == CAPTION_QUESTION]
    if not found:
        return None
    return score_captions([said for said, _ in found], [references_of(right) for _, right in found])


def references_of(truth: str) -> tuple[str, ...]:
    """The right captions of the concept that `truth` is the caption of; else it alone."""
    return _references().get(truth, (truth,))


def check_scorers() -> None:
    """Raise ConfigError now, not after a long run, when pycocoevalcap is missing."""
    _scorers()


def tokenise(text: str) -> str:
    """Lower-case words with one space between; punctuation at their ends goes."""
    return " ".join(_WORD.findall(text.lower()))


def _name(tokens: str) -> str:
    words = tokens.split()
    return " ".join(words[1:] if words[:1] and words[0] in _ARTICLES else words)


@cache
def _references() -> Mapping[str, tuple[str, ...]]:
    return {caption(concept.name): reference_captions(concept) for concept in concepts()}


def _scorers():  # type: ignore[no-untyped-def]
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
    except ImportError as error:
        fix = "pip install 'driftline[openmoji]'"
        raise MissingPackageError(
            f"caption scores need the package pycocoevalcap: {fix}", f"{fix}."
        ) from error
    return Cider, Bleu
