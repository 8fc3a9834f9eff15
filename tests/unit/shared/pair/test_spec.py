"""pair.toml is read strictly: a wrong key or type is named, with what is right."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from driftline_shared.errors import PairError
from driftline_shared.pair.pair import load_draft, load_pair
from driftline_shared.pair.spec import read_spec
from driftline_shared.tokens import Grid

WHOLE = """
name = "two"
prompt = "<image>{question}"
max_new_tokens = 8
note = "not run here"
[teacher]
id = "org/big"
revision = "v1"
dtype = "bfloat16"
[student]
path = "weights"
quantization = "int8"
prompt = "Q: <image>{question}"
[token_space]
grid = { frames = 4, rows = 2, cols = 3 }
image = { height = 32, width = 48 }
[adapter]
alpha = 8
language_targets = ["q_proj"]
[translator]
kind = "mlp"
[distillation]
vocabulary = "shared"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "pair.toml"
    path.write_text(text)
    return path


def test_every_section_is_read(tmp_path: Path) -> None:
    draft = load_draft(written(tmp_path, WHOLE))
    teacher = draft.teacher
    assert (teacher.id, teacher.revision, teacher.dtype) == ("org/big", "v1", "bfloat16")
    assert draft.teacher.prompt == "<image>{question}"
    assert draft.student.prompt == "Q: <image>{question}"
    assert draft.grid == Grid(frames=4, rows=2, cols=3)
    assert draft.canvas is not None and (draft.canvas.height, draft.canvas.frames) == (32, 1)
    assert draft.spec.translator is not None and draft.spec.translator.kind == "mlp"
    assert draft.spec.distillation.vocabulary == "shared"


@pytest.mark.parametrize(
    "line, told",
    [
        ('quantisation = "nf4"', "student.quantisation; did you mean student.quantization?"),
        ("max_tokens = 3", "unknown key student.max_tokens; known are"),
        ("dtype = 16", "student.dtype is 16"),
        ('dtype = "int8"', "student.dtype"),
        ('path = "a"\nid = "b/c"', "more than one is given"),
        ('revision = "abc"', "revision belongs to an id"),
        ('id = "../../etc"', "student.id"),
        ("[token_space]\nimage = {hight = 3, width = 4}", "did you mean token_space.image.height?"),
        ("[token_space]\ngrid = {rows = 2.0, cols = 2}", "token_space.grid.rows is 2.0"),
        ("[token_space]\ngrid = {rows = 0, cols = 2}", "token_space.grid.rows is 0"),
        ('[token_space]\ndigest = "abc"', "token_space.digest"),
        ("[adapter]\nranks = 4", "did you mean adapter.rank?"),
        ("[adapter]\nnorms = 1", "adapter.norms is 1"),
        ("[adapter]\ndropout = 1.0", "adapter.dropout is 1.0"),
        ("[adaptor]\nrank = 4", "unknown key adaptor; did you mean adapter?"),
        ('[distillation]\nvocabulary = "all"', "distillation.vocabulary"),
        ("[distillation]\nlearning_rate = nan", "distillation.learning_rate"),
        ("[distillation]\nlearning_rate = -0.1", "distillation.learning_rate"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_right(tmp_path: Path, line: str, told: str) -> None:
    text = 'name = "x"\nprompt = "p"\nmax_new_tokens = 1\n[student]\n' + (
        line if line.startswith(("quanti",)) else f'quantization = "none"\n{line}'
    )
    with pytest.raises(PairError) as raised:
        read_spec(written(tmp_path, text))
    assert told in str(raised.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(PairError, match=r"key student\.quantization is missing"):
        read_spec(written(tmp_path, 'name = "x"\nprompt = "p"\nmax_new_tokens = 1\n[student]\n'))


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(PairError, match="more than"):
        read_spec(written(tmp_path, "#" * ((1 << 20) + 1)))


def test_a_pair_is_named_by_folder_or_file_whatever_the_file_is_called(
    pair_dir: Path, copy: Path
) -> None:
    (copy / "pair.toml").rename(copy / "mine.toml")
    by_file, by_folder = load_pair(copy / "mine.toml"), load_pair(copy)
    assert by_file.dir == by_folder.dir == copy.resolve()
    assert by_file.base_model == load_pair(pair_dir).base_model


def test_two_toml_files_in_one_folder_are_no_pair(copy: Path) -> None:
    shutil.copy(copy / "pair.toml", copy / "other.toml")
    assert load_pair(copy).dir == copy.resolve()
    with pytest.raises(PairError, match="each pair has a folder of its own"):
        load_pair(copy / "other.toml")


def test_a_pair_that_is_not_fitted_says_what_to_run(copy: Path) -> None:
    text = (copy / "pair.toml").read_text()
    kept = [line for line in text.splitlines() if not line.startswith(("digest", "grid"))]
    (copy / "pair.toml").write_text("\n".join(kept))
    with pytest.raises(PairError, match="fit-token-space"):
        load_pair(copy)


def test_code_of_a_checkpoint_is_refused(copy: Path) -> None:
    config = copy / "student" / "config.json"
    text = config.read_text()
    config.write_text(text.replace("{", '{"auto_map": {"AutoModel": "own.Model"},', 1))
    with pytest.raises(PairError, match="never run"):
        load_pair(copy)


def test_the_shipped_pair_keeps_its_base_model() -> None:
    """Devices in the field hold versions for this base: another digest would orphan them."""
    pair = load_pair("tiny")
    assert pair.base_model == "3d127e5268354825a72b6329fe6e4bc3420be2d84d1d5b0b501be5b438861080"
