"""Public tasks through lmms-eval's interface, on the shipped models."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from driftline_lab.cli import app
from driftline_lab.data.easyvqa import Part, examples, read_picture
from driftline_lab.data.tiny_video.clips import Part as ClipPart
from driftline_lab.data.tiny_video.clips import clips
from driftline_lab.lmms import visuals
from driftline_lab.lmms.answering import ModelChoice, load_answerer, parse_canvas, share_of
from driftline_lab.lmms.run import evaluated, parse_tokens
from driftline_lab.lmms.visuals import frame_numbers, read_clip, shown
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.pair.pair import Canvas
from tests.fakes.lmms_eval_api import StubTask, installed
from tests.fakes.tiny_pair import PROMPT, save_llava

ROWS = list(examples(Part.TEST))[::977][:4]


def pictures() -> StubTask:
    docs = [{"question": f"<image>\n{row.question}", "answer": row.answer} for row in ROWS]
    found = {doc["question"]: row.image_id for doc, row in zip(docs, ROWS, strict=True)}

    def picture(doc: Any) -> list[Image.Image]:
        return [Image.fromarray(read_picture(found[doc["question"]]))]

    return StubTask(docs, picture)


def films() -> StubTask:
    rows = clips(ClipPart.TEST, 3)[:3]
    docs = [
        {"question": row.question, "answer": row.answer, "number": i} for i, row in enumerate(rows)
    ]
    return StubTask(docs, lambda doc: [Image.fromarray(f) for f in rows[doc["number"]].clip])


def test_tasks_are_scored_with_all_tokens_and_at_each_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed(monkeypatch, {"shapes": pictures()})
    out = tmp_path / "out.json"
    command = ["lmms-eval", "--model", "tiny", "--tasks", "shapes", "--limit", "3"]
    command += ["--compressor", "visionzip:contextual=0.25", "--tokens", "16,8", "--json", str(out)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    scores = json.loads(out.read_text())["result"]["scores"]
    assert [(each["tokens"], each["visual"]) for each in scores] == [(None, 64), (16, 16), (8, 8)]
    assert {(each["task"], each["metric"], each["documents"]) for each in scores} == {
        ("shapes", "exact_match", 3)
    }
    # The teacher of `tiny` knows these pictures.
    assert scores[0]["value"] == 1.0
    assert json.loads(done.output.splitlines()[-1])["result"]["scores"] == scores


def test_clips_are_read_as_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, {"films": films()})
    scores = evaluated(
        ModelChoice(name="tiny-video"), compressor="evs", options={}, tokens=[64], tasks=["films"]
    )
    assert [(each.tokens, each.visual, each.documents) for each in scores] == [
        (None, 256, 3),
        (64, 64, 3),
    ]


def test_a_checkpoint_is_asked_by_its_prompt(tmp_path: Path) -> None:
    save_llava(tmp_path / "checkpoint", width=32, layers=2)
    choice = ModelChoice(name=str(tmp_path / "checkpoint"), prompt=PROMPT)
    answerer = load_answerer(choice, "fastv", {"keep": 0.5, "layer": 1})
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    long = answerer.answer(picture, "<image> what is it?", {"max_new_tokens": 6})
    assert long == answerer.answer(picture, "what is it?", {"max_new_tokens": 6})
    # Cut before the first of the ends; settings of sampling change nothing.
    if len(long) > 2:
        end = long[1:3]
        cut = answerer.answer(
            picture, "what is it?", {"max_new_tokens": 6, "until": ["never", end], "temperature": 1}
        )
        assert cut == long[: long.index(end)].rstrip()
    whole = answerer.model.num_tokens
    assert answerer.visual[0] == (whole + whole // 2) / 2


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        (ModelChoice(name="tiny", side="both"), "side"),
        (ModelChoice(name="nowhere", prompt="<image>{question}"), "config.json"),
        (ModelChoice(name="tiny", prompt="<image>"), "question"),
    ],
)
def test_a_wrong_model_is_named(choice: ModelChoice, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load_answerer(choice, "", {})


def test_what_cannot_run_is_said_before_a_model_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = ModelChoice(name="no such pair")
    monkeypatch.setitem(sys.modules, "lmms_eval", None)
    with pytest.raises(ConfigError, match="cannot be imported") as caught:
        evaluated(choice, compressor="", options={}, tokens=[], tasks=["shapes"])
    assert "pip install lmms-eval" in caught.value.fix
    installed(monkeypatch, {"shapes": pictures()})
    with pytest.raises(ConfigError, match="knows no gqa"):
        evaluated(choice, compressor="", options={}, tokens=[], tasks=["shapes", "gqa"])
    with pytest.raises(ConfigError, match="need a compressor"):
        evaluated(choice, compressor="", options={}, tokens=[64], tasks=["shapes"])


@pytest.mark.parametrize("request_type", ["loglikelihood", "generate_until_multi_round"])
def test_tasks_that_are_not_answered_in_words_are_refused(
    monkeypatch: pytest.MonkeyPatch, request_type: str
) -> None:
    plain = pictures()
    installed(monkeypatch, {"odd": StubTask(plain.docs, plain.visuals, request=request_type)})
    with pytest.raises(ConfigError, match="choose another"):
        evaluated(ModelChoice(name="tiny"), compressor="", options={}, tokens=[], tasks=["odd"])


def test_a_document_that_shows_too_much_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = pictures()
    twice = StubTask(plain.docs, lambda doc: plain.visuals(doc) * 2)
    installed(monkeypatch, {"pairs": twice})
    with pytest.raises(DataError, match="task pairs, document 0: 2 pictures"):
        evaluated(ModelChoice(name="tiny"), compressor="", options={}, tokens=[], tasks=["pairs"])


def video(path: Path, frames: int) -> Path:
    """Frames that brighten from one to the next."""
    codec = cv2.VideoWriter_fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), codec, 5, (32, 24))
    for number in range(frames):
        writer.write(np.full((24, 32, 3), 20 * number, dtype=np.uint8))
    writer.release()
    return path


def test_of_a_video_file_frames_are_chosen_evenly(tmp_path: Path) -> None:
    clip = shown(str(video(tmp_path / "film.avi", 11)), 4)
    assert clip.shape == (4, 24, 32, 3)
    # Frames 0, 3, 7 and 10.
    np.testing.assert_allclose(clip.mean(axis=(1, 2, 3)), [0, 60, 140, 200], atol=3)
    few = read_clip(video(tmp_path / "short.avi", 2), 4)
    np.testing.assert_allclose(few.mean(axis=(1, 2, 3)), [0, 0, 20, 20], atol=3)


def test_a_video_too_large_is_refused_before_a_frame_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = video(tmp_path / "film.avi", 3)
    monkeypatch.setattr(visuals, "MOST_BYTES", 3 * 4 * 32 * 24 - 1)
    with pytest.raises(DataError, match="4 frames of 32 x 24"):
        read_clip(path, 4)
    assert read_clip(path, 3).shape == (3, 24, 32, 3)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "film.avi"
    text.write_text("no film")
    picture = Image.new("L", (5, 4), 7)
    for given, frames, why in (
        ([], 1, "without a picture"),
        ([None], 1, "without a picture"),
        ([{"array": 1}], 1, "dict is no picture"),
        (str(text), 4, "cannot be read"),
        (str(text), 1, "one picture"),
        ([picture, Image.new("L", (6, 4))], 2, "several sizes"),
    ):
        with pytest.raises(DataError, match=why):
            shown(given, frames)
    assert shown(picture, 1).tolist() == [[[7, 7, 7]] * 5] * 4


def test_options_are_read_or_named() -> None:
    assert parse_tokens("192, 128,64") == [192, 128, 64] and parse_tokens("") == []
    assert parse_canvas("384x336") == Canvas(height=384, width=336)
    assert parse_canvas("16x384x336") == Canvas(height=384, width=336, frames=16)
    assert parse_canvas("") is None
    assert share_of(144, 576) == 0.25
    assert frame_numbers(1, 3) == [0, 0, 0]
    for wrong in ("192,many", "0", "-3"):
        with pytest.raises(ConfigError, match="tokens"):
            parse_tokens(wrong)
    for wrong in ("384", "axb", "0x9", "1x2x3x4"):
        with pytest.raises(ConfigError, match="canvas"):
            parse_canvas(wrong)
    with pytest.raises(ConfigError, match="576 visual tokens"):
        share_of(577, 576)
