"""Vocabularies are compared by the bytes their tokens stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftline_shared.errors import PairError
from driftline_shared.models.vocabulary.spelling import Spelling
from driftline_shared.models.vocabulary.vocabulary import compare, read_vocabulary
from tests.fakes.mixed_pairs import byte_tokenizer, space_tokenizer
from tests.fakes.tiny_pair import make_tokenizer


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tokenizers")
    tokenizers = {
        "tiny": make_tokenizer(("<image>",)),
        "again": make_tokenizer(("<image>",)),
        "bytes": byte_tokenizer(),
        "spaces": space_tokenizer(),
    }
    for name, tokenizer in tokenizers.items():
        tokenizer.save_pretrained(root / name)
    return {name: root / name for name in tokenizers}


def _words(folder: Path, words: list[str], *, end: str = "</s>") -> Path:
    """A word-level tokenizer of exactly these words."""
    vocab = {word: i for i, word in enumerate([end, *words])}
    spec: dict[str, Any] = {
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": words[0]},
        "added_tokens": [{"id": 0, "content": end, "special": True}],
    }
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": end}))
    return folder


def test_equal_tokenizers_are_one_vocabulary(folders: dict[str, Path]) -> None:
    found = compare(folders["tiny"], folders["again"])
    assert found.mode == "same" and found.shared_share == 1.0
    assert np.array_equal(found.student_ids, np.arange(found.student.num_tokens))
    assert np.array_equal(found.teacher_ids, found.student_ids)


def test_markers_of_one_side_do_not_make_two_vocabularies(tmp_path: Path) -> None:
    make_tokenizer(("<image>",)).save_pretrained(tmp_path / "one")
    other = make_tokenizer(("<image>",))
    other.add_special_tokens({"additional_special_tokens": ["<video>"]})
    other.save_pretrained(tmp_path / "two")
    found = compare(tmp_path / "one", tmp_path / "two")
    assert found.mode == "same"
    assert len(found.student_ids) == found.student.num_tokens == found.teacher.num_tokens - 1


def test_strings_in_common_are_found_whatever_they_are_written_like(
    folders: dict[str, Path],
) -> None:
    found = compare(folders["bytes"], folders["spaces"])
    assert found.mode == "shared"
    ours, theirs = found.student.pieces, found.teacher.pieces
    texts = [ours[i] for i in found.student_ids[:-1]]
    assert texts == [theirs[i] for i in found.teacher_ids[:-1]]
    assert b" " in texts and b"al" in texts
    # Every byte is a token of both; an ordinary letter is preferred to its byte-fallback token.
    assert {bytes([byte]) for byte in range(256)} <= set(texts)
    letter = int(found.teacher_ids[texts.index(b"q")])
    assert json.loads((folders["spaces"] / "tokenizer.json").read_text())["model"]["vocab"][
        "q"
    ] == (letter)
    assert (found.student_ids[-1], found.teacher_ids[-1]) == (
        found.student.ends[0],
        found.teacher.ends[0],
    )


def test_few_strings_in_common_leave_the_text_alone(tmp_path: Path) -> None:
    one = _words(tmp_path / "one", ["red", "green", "blue", "teal"])
    two = _words(tmp_path / "two", ["rouge", "vert", "teal", "bleu"])
    found = compare(one, two)
    assert found.mode == "sequence" and found.shared_share == pytest.approx(0.25)
    assert "only the teacher's text" in found.sentence
    assert compare(one, two, "shared").mode == "shared"


def test_what_an_end_token_is_called_does_not_matter_but_its_id_does(tmp_path: Path) -> None:
    words = ["red", "green"]
    found = compare(_words(tmp_path / "one", words), _words(tmp_path / "two", words, end="<|end|>"))
    assert found.mode == "same"
    (tmp_path / "two" / "generation_config.json").write_text('{"eos_token_id": 2}')
    (tmp_path / "two" / "tokenizer_config.json").unlink()
    found = compare(tmp_path / "one", tmp_path / "two")
    assert found.mode == "shared"
    assert (found.student_ids[-1], found.teacher_ids[-1]) == (0, 2)


def test_a_pair_may_ask_for_less_and_not_for_more(folders: dict[str, Path], tmp_path: Path) -> None:
    assert compare(folders["tiny"], folders["again"], "sequence").mode == "sequence"
    with pytest.raises(PairError, match=r'different vocabularies .* vocabulary = "shared"'):
        compare(folders["tiny"], folders["bytes"], "same")
    one, two = _words(tmp_path / "one", ["red"]), _words(tmp_path / "two", ["rouge"])
    with pytest.raises(PairError, match="no string in common"):
        compare(one, two, "shared")


def test_a_folder_without_a_tokenizer_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PairError, match=r"tokenizer\.json is missing; .*save_pretrained"):
        read_vocabulary(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": {}}')
    with pytest.raises(PairError, match="is not a tokenizer"):
        read_vocabulary(tmp_path)
    folder = _words(tmp_path / "endless", ["red"])
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(PairError, match="names an end token"):
        read_vocabulary(folder)


@pytest.mark.parametrize("text", [" red", "teal", " the circle is red", "été → ok", "a\nb  c", ""])
@pytest.mark.parametrize(("ours", "theirs"), [("tiny", "bytes"), ("tiny", "spaces")])
def test_an_answer_keeps_its_text_in_other_tokens(
    folders: dict[str, Path], ours: str, theirs: str, text: str
) -> None:
    found = compare(folders[ours], folders[theirs])
    spelling = Spelling(found)
    pieces, others = found.student.pieces, found.teacher.pieces
    ids = [i for byte in text.encode() for i, piece in pieces.items() if piece == bytes([byte])]
    ids.append(found.student.ends[0])
    said = spelling.to_teacher(ids)
    assert said[-1] == found.teacher.ends[0]
    raw = b"".join(others[i] for i in said[:-1])
    # A tokenizer that begins every text with a space cannot write one without it.
    assert raw == text.encode() or (theirs == "spaces" and raw == b" " + text.encode())
    back = spelling.to_student(said)
    assert b"".join(pieces[i] for i in back[:-1]) == raw and back[-1] == ids[-1]
    assert spelling.to_student(said[:-1]) == back[:-1]


def test_steps_are_those_that_begin_and_end_at_the_same_bytes(folders: dict[str, Path]) -> None:
    found = compare(folders["tiny"], folders["spaces"])
    spelling = Spelling(found)
    ours = {piece: i for i, piece in found.student.pieces.items()}
    theirs = {piece: i for i, piece in found.teacher.pieces.items()}
    end, other_end = found.student.ends[0], found.teacher.ends[0]
    mine = [ours[b" "], ours[b"r"], ours[b"e"], ours[b"d"], ours[b"s"], end]
    other = [theirs[b" r"], theirs[b"ed"], theirs[b"s"], other_end]
    assert spelling.steps(mine, other) == ([4, 5], [2, 3])
    assert spelling.steps(mine[:-1], other) == ([4], [2])
    # One side without the leading space: what follows it is compared.
    bare = [ours[b"r"], ours[b"e"], ours[b"d"], ours[b"s"], end]
    assert spelling.steps(bare, other) == ([3, 4], [2, 3])
    assert spelling.steps([ours[b"x"], end], other) == ([], [])
    assert spelling.steps([], []) == ([], [])
