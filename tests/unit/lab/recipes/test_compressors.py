"""Training compressors: packed rows read as single rows do; the new pair is whole."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from driftline_lab.data.domains import SOURCE
from driftline_lab.data.easyvqa import Part, image_ids, read_picture
from driftline_lab.recipes.compressors.build import (
    PLANS,
    TRAINING,
    Start,
    Trained,
    fresh_reading,
    read_start,
    reading_of,
    train_and_measure,
    train_compressor,
)
from driftline_lab.recipes.compressors.cli import given_options
from driftline_lab.recipes.compressors.folder import write_pair
from driftline_lab.recipes.compressors.quecc import layer_tokens
from driftline_lab.recipes.compressors.reading import PlainReading, Reading, accuracy, answer_loss
from driftline_lab.recipes.compressors.results import described, with_row, write
from driftline_lab.recipes.compressors.student import Lessons, Student, load_student
from driftline_lab.recipes.packing import IGNORE, Segment
from driftline_lab.recipes.tiny.evaluation import accuracy as plain_accuracy
from driftline_lab.recipes.tiny.questions import Encoder
from driftline_lab.recipes.tiny.token_cache import encode_pictures
from driftline_lab.recipes.tiny.tower import UNKNOWN
from driftline_lab.recipes.tiny.training import LanguagePlan, View
from driftline_shared.errors import ConfigError, PairError
from driftline_shared.models.compression.compressed_model import CompressedModel, facts_of
from driftline_shared.models.compression.loading import compressed
from driftline_shared.models.compression.table import configured
from driftline_shared.models.loading import load_model
from driftline_shared.models.multimodal import answer_places
from driftline_shared.pair.pair import load_pair
from driftline_shared.program.compressor import CompressorChoice
from tests.fakes.tiny_pair import make_tiny_pair

METHODS: dict[str, dict[str, Any]] = {
    "voco": {"tokens": 2},
    "mod": {"keep": 0.2, "layers": [0, 1]},
    "quecc": {"keep": 0.25},
}

IDS = image_ids(Part.CALIBRATION)[:6]
TRAINED = METHODS | {"mod": {"keep": 0.2}}


@pytest.fixture
def student() -> Student:
    return load_student(load_pair("tiny"))


@pytest.fixture(scope="module")
def views() -> list[View]:
    """Tokens of all layers that a method may ask for, unrounded."""
    owner = load_student(load_pair("tiny"))
    tokens = layer_tokens(owner, [read_picture(number) for number in IDS], torch.float32)
    return views_of(owner, tokens)


def views_of(owner: Student, tokens: Any) -> list[View]:
    encoder = Encoder(tokenizer=owner.tokenizer)
    return [
        View(
            tokens=tokens,
            row=row,
            segments=encoder.segments(image_id, SOURCE, seed=0),
            shape=UNKNOWN,
            colour=UNKNOWN,
        )
        for row, image_id in enumerate(IDS)
    ]


@pytest.mark.parametrize("method", METHODS)
def test_packed_rows_read_as_single_rows_through_the_driver(
    student: Student, views: list[View], method: str
) -> None:
    pair = load_pair("tiny")
    model: Any = load_model(pair.student_dir, prompt=pair.prompt)
    facts = facts_of(model)
    assert facts == student.facts
    compression = configured(method, METHODS[method], facts)
    drawn = compression.kind.fresh_weights(compression.options, facts, 3)
    # Larger than fresh ones, so that gates and learned tokens make a difference.
    weights = {name: value + torch.randn_like(value) for name, value in drawn.items()}
    driven = CompressedModel(model, replace(compression, weights=weights))
    reading = reading_of(student, compression, weights)
    rows = [view.segments[:3] for view in views[:2]]
    with torch.no_grad():
        packed, hidden = reading.states(views[:2], rows)
        same, plain = PlainReading(student).states(views[:2], rows)
        wanted = same.labels
    mine = hidden[packed.labels != IGNORE]
    alone = [
        through_driver(driven, picture, segment, student)
        for picture, row in zip(IDS, rows, strict=False)
        for segment in row
    ]
    assert torch.allclose(mine, torch.cat(alone), atol=1e-4)
    assert not torch.allclose(plain[wanted != IGNORE], mine, atol=1e-2)


@torch.no_grad()
def through_driver(
    driven: CompressedModel, picture: int, segment: Segment, student: Student
) -> torch.Tensor:
    """(answer, D) hidden states that predict the answer of one row, from the picture's pixels."""
    question = student.tokenizer.decode(segment.question).removesuffix("\n")
    batch = driven.look([read_picture(picture)], [question], [list(segment.answer)]).batch
    return driven.forward(batch, answer_places(batch)).hidden


def test_plain_rows_are_counted_as_the_recipe_of_the_pair_counts_them(
    student: Student,
) -> None:
    tower = student.model.model.vision_tower
    views = views_of(student, encode_pictures(tower, (read_picture(number) for number in IDS)))
    found, asked = accuracy(student, PlainReading(student), views, batch_size=4)
    ends = {"start_id": student.start_id, "pad_id": student.pad_id}
    assert found == plain_accuracy(student.model, views, **ends)
    assert asked == sum(len(view.segments) for view in views)


@pytest.mark.parametrize("method", METHODS)
def test_training_writes_a_new_pair_that_reads_as_trained(
    student: Student, views: list[View], method: str, tmp_path: Path
) -> None:
    pair = load_pair("tiny")
    tower = {k: v.clone() for k, v in student.model.model.vision_tower.state_dict().items()}
    compression = configured(method, TRAINED[method], student.facts)
    losses: list[float] = []
    trained, reading = train_and_measure(
        student,
        Lessons(train=views, test=views[:2]),
        compression,
        LanguagePlan(num_steps=8, learning_rate=2e-3, warmup_steps=1, pictures_per_step=4, seed=5),
        tmp_path,
        lambda _, loss: losses.append(loss),
    )
    assert losses[-1] < losses[0]
    assert all(has_learnt(one) for one in reading.weights.values())
    for name, value in student.model.model.vision_tower.state_dict().items():
        assert torch.equal(value, tower[name])

    out = tmp_path / "pair"
    write_pair(pair, out, "copy", method, student, reading.weights)
    made = load_pair(out)
    assert made.name == "copy"
    assert made.base_model != pair.base_model
    assert made.token_space.digest == pair.token_space.digest
    assert not (out / "gate.safetensors").exists()
    model = load_model(made.student_dir, prompt=made.prompt)
    choice = CompressorChoice(name=method, options=TRAINED[method])
    driven = compressed(model, made.student_dir, choice)
    segment = views[0].segments[0]
    with torch.no_grad():
        _, hidden = reading.states(views[:1], [[segment]])
        alone = through_driver(driven, IDS[0], segment, student)
    mine = hidden[0, -len(segment.answer) - 1 : -1]
    assert torch.allclose(mine, alone, atol=1e-4)
    assert trained.num_questions == sum(len(view.segments) for view in views[:2])
    assert (
        trained.upper
        == accuracy(load_student(pair), PlainReading(load_student(pair)), views[:2])[0]
    )


def has_learnt(parameter: torch.Tensor) -> bool:
    """Whether a gradient other than nothing has reached it."""
    return parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)


def test_a_router_of_the_last_layer_cannot_learn(student: Student, views: list[View]) -> None:
    compression = configured("mod", {"layers": [1]}, student.facts)
    reading = fresh_reading(student, compression, 0)
    loss = answer_loss(student, reading, views[:2], [view.segments for view in views[:2]])
    loss.backward()
    assert not any(has_learnt(one) for one in reading.weights.values())


def test_the_same_seed_trains_the_same_weights(views: list[View], tmp_path: Path) -> None:
    ends = []
    for _ in range(2):
        student = load_student(load_pair("tiny"))
        compression = configured("voco", {}, student.facts)
        _, reading = train_and_measure(
            student,
            Lessons(train=views, test=views[:1]),
            compression,
            LanguagePlan(num_steps=2, learning_rate=1e-3, warmup_steps=1, pictures_per_step=2),
            tmp_path,
            lambda *_: None,
        )
        ends.append((reading.weights["tokens"].detach(), student.model.lm_head.weight.detach()))
    assert torch.equal(ends[0][0], ends[1][0])
    assert torch.equal(ends[0][1], ends[1][1])


def test_a_training_goes_on_from_what_an_earlier_one_wrote(
    student: Student, views: list[View], tmp_path: Path
) -> None:
    pair = load_pair("tiny")
    compression = configured("voco", {"tokens": 2}, student.facts)
    plan = LanguagePlan(num_steps=2, learning_rate=1e-3, warmup_steps=1, pictures_per_step=2)
    lessons = Lessons(train=views, test=views[:1])

    def go(learner: Student, before: Start | None) -> tuple[Trained, Reading]:
        return train_and_measure(
            learner, lessons, compression, plan, tmp_path, lambda *_: None, before
        )

    trained, reading = go(student, None)
    first = replace(trained, pair="tiny")
    out = tmp_path / "first"
    write_pair(pair, out, "first", "voco", student, reading.weights)
    (out / TRAINING).write_text(json.dumps(asdict(first)))
    before = read_start(out, "tiny", compression)
    assert torch.equal(before.weights["tokens"], reading.weights["tokens"])
    second, later = go(load_student(load_pair(out)), before)
    assert (second.steps_before, second.num_steps) == (2, 2)
    assert (second.upper, second.lower) == (first.upper, first.lower)
    assert not torch.equal(later.weights["tokens"], reading.weights["tokens"])

    other = configured("voco", {"tokens": 3}, student.facts)
    with pytest.raises(PairError, match="not of voco with"):
        read_start(out, "tiny", other)
    with pytest.raises(PairError, match="no training to go on with"):
        read_start(tmp_path / "nothing", "tiny", compression)


def test_a_row_of_results_takes_the_place_of_its_like(tmp_path: Path) -> None:
    def row(method: str, tokens: int, x: float) -> dict[str, Any]:
        return described(
            Trained(
                method=method,
                options={"tokens": tokens},
                pair="tiny",
                seed=0,
                questions="all",
                num_steps=1,
                steps_before=0,
                num_visual=64,
                num_questions=10,
                upper=1.0,
                lower=0.5,
                x=x,
                retention=2 * x - 1,
                weight_bytes=4,
                seconds=1.0,
            ),
            "a command",
        )

    file = tmp_path / "results.json"
    for each in (
        row("voco", 1, 0.7),
        row("voco", 4, 0.8),
        row("mod", 1, 0.9),
        row("voco", 1, 0.95),
    ):
        write(file, with_row(file, each))
    document = json.loads(file.read_text())
    found = [
        (each["result"]["method"], each["result"]["options"]["tokens"], each["result"]["x"])
        for each in document["trainings"]
    ]
    assert found == [("mod", 1, 0.9), ("voco", 1, 0.95), ("voco", 4, 0.8)]
    assert "processor" in document["trainings"][0]["conditions"]


def test_options_are_given_as_in_configuration() -> None:
    assert given_options(["tokens=2", "layers=[0, 3]", "gate=identity"]) == {
        "tokens": 2,
        "layers": [0, 3],
        "gate": "identity",
    }
    with pytest.raises(typer.BadParameter, match="KEY=VALUE"):
        given_options(["tokens"])


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("fastv", {}, "nothing to train for 'fastv'"),
        ("voco", {"keep": 1.0}, "nothing to train"),
        ("voco", {"token": 2}, "token"),
    ],
)
def test_what_cannot_be_trained_is_told_before_any_work(
    method: str, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        train_compressor(
            method, "tiny", tmp_path / "out", tmp_path, options=options, report=lambda _: print
        )
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_and_another_pair_are_refused(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(PairError, match="not empty"):
        train_compressor("voco", "tiny", tmp_path, tmp_path, options={}, report=lambda _: print)
    other = str(make_tiny_pair(tmp_path / "pair"))
    with pytest.raises(PairError, match="trained on the pair `tiny`"):
        train_compressor(
            "voco", other, tmp_path / "new", tmp_path, options={}, report=lambda _: print
        )


def test_every_plan_is_of_a_trained_method() -> None:
    from driftline_shared.models.compression.table import METHODS as TABLE

    assert all(TABLE[name].trained for name in PLANS)
