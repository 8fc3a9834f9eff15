"""Whether teacher and student write answers in the same tokens, and which strings they share.

Needs no torch. Two tokenizers spell a string differently (a byte-level BPE writes " red" as `Ġred`,
a SentencePiece model as `▁red`), so tokens are compared by the bytes they stand for.

Modes, from the most the teacher can teach to the least:

    same      every ordinary token has the same id: all terms of the loss, over all ids in common
    shared    other ids, but many strings in common: next-token distributions are compared over the
              shared strings, at answer steps where both tokenizations have the same boundaries
    sequence  the teacher's text alone, in the student's tokens (Kim and Rush, arXiv 1606.07947)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from driftline_shared.errors import PairError
from driftline_shared.pair.families import read_table
from driftline_shared.pair.spec import VocabularyMode

MODES: tuple[VocabularyMode, ...] = ("same", "shared", "sequence")

MIN_SHARED_SHARE = 0.5
"""Least share of the smaller vocabulary in common for `shared` to be chosen by itself."""

MAX_TOKENIZER_BYTES = 128 << 20
"""Most bytes of a tokenizer.json; those of 256 thousand tokens take about 34 MB."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The tokens of one checkpoint folder.

    `pieces`: id -> the bytes an ordinary token stands for. `markers`: id -> string of the added
    tokens, which mark and are not text. `ends`: ids that end an answer; the first one ends ours.
    """

    dir: Path
    pieces: dict[int, bytes]
    markers: dict[int, str]
    ends: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens that exist; a padded output layer has more rows."""
        return len(self.pieces) + len(self.markers)


@dataclass(frozen=True, kw_only=True)
class Vocabularies:
    """Two vocabularies held against each other.

    `student_ids`, `teacher_ids`: (S,) int64, ids of the strings in common, pairwise; the last pair
    are the tokens that end an answer. `shared_share`: strings in common over the ordinary tokens
    of the smaller vocabulary, 0..1.
    """

    mode: VocabularyMode
    shared_share: float
    student: Vocabulary
    teacher: Vocabulary
    student_ids: NDArray[np.int64]
    teacher_ids: NDArray[np.int64]

    @property
    def sentence(self) -> str:
        """What the mode means for this pair, for people."""
        if self.mode == "same":
            return f"one vocabulary: {len(self.student_ids)} tokens with the same ids"
        both = (
            f"{self.shared_share:.0%} of the smaller vocabulary in common (student "
            f"{self.student.num_tokens} tokens, teacher {self.teacher.num_tokens})"
        )
        if self.mode == "shared":
            return f"two vocabularies, {both}: distributions are compared over the shared strings"
        return f"two vocabularies, {both}: only the teacher's text is taught, without a2 and a4"


def compare(
    student_dir: Path, teacher_dir: Path, wanted: VocabularyMode | None = None
) -> Vocabularies:
    """Hold the vocabularies of two checkpoint folders against each other.

    `wanted` (the pair's own choice) may ask for less than there is. Raises PairError when it asks
    for more, and for a folder without a readable tokenizer.json.
    """
    if wanted is not None and wanted not in MODES:
        raise PairError(f"distillation vocabulary is one of {', '.join(MODES)}, not {wanted!r}")
    student, teacher = read_vocabulary(student_dir), read_vocabulary(teacher_dir)
    student_ids, teacher_ids = _common(student, teacher)
    smaller = min(len(student.pieces), len(teacher.pieces))
    share = (len(student_ids) - 1) / max(smaller, 1)
    same = student.pieces == teacher.pieces and student.ends[0] == teacher.ends[0]
    less: VocabularyMode = "shared" if share >= MIN_SHARED_SHARE else "sequence"
    most: VocabularyMode = "same" if same else less
    if wanted == "same" and not same:
        raise PairError(
            f"{student_dir.name} and {teacher_dir.name} have different vocabularies ({share:.0%} "
            'in common); set [distillation] vocabulary = "shared" or "sequence", or leave it out'
        )
    if wanted == "shared" and len(student_ids) < 2:
        raise PairError(
            f"{student_dir.name} and {teacher_dir.name} have no string in common; "
            'set [distillation] vocabulary = "sequence"'
        )
    mode = wanted or most
    if mode == "same":
        student_ids = teacher_ids = _same_ids(student, teacher)
    return Vocabularies(
        mode=mode,
        shared_share=share,
        student=student,
        teacher=teacher,
        student_ids=student_ids,
        teacher_ids=teacher_ids,
    )


def read_vocabulary(model_dir: Path) -> Vocabulary:
    """The tokens of a checkpoint folder. Raises PairError when they cannot be read."""
    path = model_dir / "tokenizer.json"
    if not path.is_file():
        raise PairError(
            f"{path} is missing; AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) writes it"
        )
    spec = read_table(path, MAX_TOKENIZER_BYTES)
    try:
        vocab = spec["model"]["vocab"]
        listed = enumerate(entry[0] for entry in vocab) if isinstance(vocab, list) else None
        strings = dict(listed) if listed is not None else {int(i): s for s, i in vocab.items()}
        markers = {int(one["id"]): str(one["content"]) for one in spec.get("added_tokens") or []}
        spelling = _spelling(spec)
        pieces = {i: _surface(strings[i], spelling) for i in sorted(strings) if i not in markers}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise PairError(f"{path} is not a tokenizer of the tokenizers library: {error}") from error
    by_name = {text: i for i, text in (strings | markers).items()}
    return Vocabulary(dir=model_dir, pieces=pieces, markers=markers, ends=_ends(model_dir, by_name))


def _common(
    student: Vocabulary, teacher: Vocabulary
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids of the shared strings in rising order of the student's, then the end tokens."""
    ours, theirs = _by_bytes(student), _by_bytes(teacher)
    pairs = sorted((ours[text], theirs[text]) for text in ours.keys() & theirs.keys())
    pairs.append((student.ends[0], teacher.ends[0]))
    both = np.asarray(pairs, dtype=np.int64)
    return both[:, 0].copy(), both[:, 1].copy()


def _by_bytes(vocabulary: Vocabulary) -> dict[bytes, int]:
    """Bytes -> id, end tokens left out. Of two tokens for the same bytes the last one counts:
    byte-fallback tokens come first in the vocabularies that have them, and are written last."""
    ends = set(vocabulary.ends)
    return {text: i for i, text in vocabulary.pieces.items() if text and i not in ends}


def _same_ids(student: Vocabulary, teacher: Vocabulary) -> NDArray[np.int64]:
    """Ids that mean the same on both sides, markers included."""
    markers = [i for i, text in student.markers.items() if teacher.markers.get(i) == text]
    return np.asarray(sorted([*student.pieces, *markers]), dtype=np.int64)


def _ends(model_dir: Path, by_name: dict[str, int]) -> tuple[int, ...]:
    """Tokens that end an answer: the tokenizer's, then those of the generation config."""
    name = optional_table(model_dir / "tokenizer_config.json").get("eos_token")
    if name is None:
        name = optional_table(model_dir / "special_tokens_map.json").get("eos_token")
    text = name.get("content") if isinstance(name, dict) else name
    own = [by_name[text]] if isinstance(text, str) and text in by_name else []
    config = optional_table(model_dir / "config.json")
    for source in (
        optional_table(model_dir / "generation_config.json"),
        config,
        config.get("text_config") or {},
    ):
        known = source.get("eos_token_id")
        if known is not None:
            own += [int(i) for i in (known if isinstance(known, list) else [known])]
            break
    if not own:
        raise PairError(f"{model_dir}: neither tokenizer nor generation config names an end token")
    return tuple(dict.fromkeys(own))


Spelling = Literal["bytes", "spaces", "plain"]
"""How a vocabulary writes text: byte-level alphabet, `▁` for a space, or as it is."""


def _spelling(spec: dict[str, Any]) -> Spelling:
    kinds = {
        str(part.get("type")) for key in ("decoder", "pre_tokenizer") for part in _parts(spec, key)
    }
    if "ByteLevel" in kinds:
        return "bytes"
    replaced = any("▁" in json.dumps(part, ensure_ascii=False) for part in _parts(spec, "decoder"))
    return "spaces" if "Metaspace" in kinds or replaced else "plain"


def _parts(spec: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The decoder or pre-tokenizer of a tokenizer.json, taken out of its sequence."""
    part = spec.get(key)
    if not part:
        return []
    for inside in ("decoders", "pretokenizers"):
        if inside in part:
            return list(part[inside])
    return [part]


def _surface(token: str, spelling: Spelling) -> bytes:
    """The bytes a token stands for."""
    if spelling == "bytes":
        alphabet = _byte_alphabet()
        if all(letter in alphabet for letter in token):
            return bytes(alphabet[letter] for letter in token)
        return token.encode()
    if spelling == "spaces":
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes.fromhex(token[3:5])
        return token.replace("▁", " ").encode()
    return token.encode()


@lru_cache(maxsize=1)
def _byte_alphabet() -> dict[str, int]:
    """Letter -> byte of byte-level BPE: printable bytes are themselves, the others follow 255."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + number): byte for number, byte in enumerate(others)}


def optional_table(path: Path) -> dict[str, Any]:
    """The JSON object in a file beside the weights, empty where there is no such file."""
    return read_table(path, MAX_TOKENIZER_BYTES) if path.is_file() else {}
