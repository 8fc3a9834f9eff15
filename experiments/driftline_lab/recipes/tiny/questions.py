"""Turns the examples of a domain into token segments."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from driftline_lab.data.domains import DOMAINS
from driftline_lab.recipes.tiny.packing import Segment


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """Encodes questions and answers with the pair's tokenizer."""

    tokenizer: PreTrainedTokenizerFast

    def segment(self, question: str, answer: str) -> Segment:
        """The part of the prompt after `<image>`, and the answer with its end token."""
        asked = self.tokenizer.encode(f"{question}\n", add_special_tokens=False)
        answered = self.tokenizer.encode(answer, add_special_tokens=False)
        return Segment(question=tuple(asked), answer=(*answered, int(self.tokenizer.eos_token_id)))

    def segments(self, image_id: int, domain: str, *, seed: int) -> tuple[Segment, ...]:
        """All segments of a picture in a domain: reworded where the domain rewords."""
        rows = DOMAINS[domain].questions(image_id, seed=seed)
        return tuple(self.segment(row.question, row.answer) for row in rows)
