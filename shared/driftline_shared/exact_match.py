"""Normalised exact match: how an answer is compared with the true or the expected one."""

from __future__ import annotations

import unicodedata


def normalise(text: str) -> str:
    """Lower case, one space between words, no punctuation at either end."""
    words = unicodedata.normalize("NFKC", text).casefold().split()
    return " ".join(words).strip(" .,;:!?\"'")


def is_correct(answer: str, truth: str) -> bool:
    """Whether both say the same."""
    return normalise(answer) == normalise(truth)
