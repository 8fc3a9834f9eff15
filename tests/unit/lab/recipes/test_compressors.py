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
from driftline_lab.recipes.training import Report
from driftline_shared.errors import ConfigError
from driftline_shared.models.compression import table
from driftline_shared.models.compression.compressed_model import CompressedModel, facts_of
from driftline_shared.models.compression.compressor import Compression
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
    draw = torch.Generator().manual_seed(0)
    weights = {
        name: value + torch.randn(value.shape, generator=draw) for name, value in drawn.items()
    }
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


def learn(
    student: Student,
    views: list[View],
    compression: Compression,
    work: Path,
    *,
    steps: int = 2,
    before: Start | None = None,
    report: Report = lambda *_: None,
) -> tuple[Trained, Reading]:
    plan = LanguagePlan(
        num_steps=steps, learning_rate=2e-3, warmup_steps=1, pictures_per_step=4, seed=5
    )
    lessons = Lessons(train=views, test=views[:2])
    return train_and_measure(student, lessons, compression, plan, work, report, before)


@pytest.mark.parametrize("method", METHODS)
def test_training_writes_a_new_pair_that_reads_as_trained(
    student: Student, views: list[View], method: str, tmp_path: Path
) -> None:
    pair = load_pair("tiny")
    tower = {k: v.clone() for k, v in student.model.model.vision_tower.state_dict().items()}
    compression = configured(method, TRAINED[method], student.facts)
    losses: list[float] = []
    trained, reading = learn(
        student, views, compression, tmp_path, steps=8, report=lambda _, loss: losses.append(loss)
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
    before = load_student(pair)
    assert trained.upper == accuracy(before, PlainReading(before), views[:2])[0]
    assert "processor" in described(trained, "a command")["conditions"]


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
        _, reading = learn(student, views, compression, tmp_path)
        ends.append((reading.weights["tokens"].detach(), student.model.lm_head.weight.detach()))
    assert torch.equal(ends[0][0], ends[1][0])
    assert torch.equal(ends[0][1], ends[1][1])


def test_a_training_goes_on_from_what_an_earlier_one_wrote(
    student: Student, views: list[View], tmp_path: Path
) -> None:
    pair = load_pair("tiny")
    compression = configured("voco", {"tokens": 2}, student.facts)
    trained, reading = learn(student, views, compression, tmp_path)
    first = replace(trained, pair="tiny")
    out = tmp_path / "first"
    write_pair(pair, out, "first", "voco", student, reading.weights)
    (out / TRAINING).write_text(json.dumps(asdict(first)))
    before = read_start(out, "tiny", compression)
    assert torch.equal(before.weights["tokens"], reading.weights["tokens"])
    second, later = learn(load_student(load_pair(out)), views, compression, tmp_path, before=before)
    assert (second.steps_before, second.num_steps) == (2, 2)
    assert (second.upper, second.lower) == (first.upper, first.lower)
    assert not torch.equal(later.weights["tokens"], reading.weights["tokens"])

    other = configured("voco", {"tokens": 3}, student.facts)
    with pytest.raises(ConfigError, match="not of voco with"):
        read_start(out, "tiny", other)
    with pytest.raises(ConfigError, match="no training to go on with"):
        read_start(tmp_path / "nothing", "tiny", compression)


def test_a_row_of_results_takes_the_place_of_its_like(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    same = {"pair": "tiny", "seed": 0, "questions": "all", "steps_before": 0}
    for method, tokens, x in (
        ("voco", 1, 0.7),
        ("voco", 4, 0.8),
        ("mod", 1, 0.9),
        ("voco", 1, 0.95),
    ):
        result = same | {"method": method, "options": {"tokens": tokens}, "x": x}
        write(file, with_row(file, {"command": "a command", "result": result}))
    found = [row["result"] for row in json.loads(file.read_text())["trainings"]]
    assert [(row["method"], row["options"]["tokens"], row["x"]) for row in found] == [
        ("mod", 1, 0.9),
        ("voco", 1, 0.95),
        ("voco", 4, 0.8),
    ]


def test_options_are_given_as_in_configuration() -> None:
    assert given_options(["tokens=2", "layers=[0, 3]", "gate=identity"]) == {
        "tokens": 2,
        "layers": [0, 3],
        "gate": "identity",
    }
    with pytest.raises(typer.BadParameter, match="KEY=VALUE"):
        given_options(["tokens"])


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("fastv", {}, "nothing to train for 'fastv'"),
        ("voco", {"keep": 1.0}, "nothing to train"),
        ("voco", {"token": 2}, "token"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_work(
    method: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(method, "tiny", tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_and_another_pair_are_refused(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        train("voco", "tiny", tmp_path)
    with pytest.raises(ConfigError, match="trained on the pair `tiny`"):
        train("voco", str(make_tiny_pair(tmp_path / "pair")), tmp_path / "new")


def train(method: str, pair: str, out: Path, **options: Any) -> None:
    train_compressor(method, pair, out, out.parent, options=options, report=lambda _: print)


def test_every_plan_is_of_a_trained_method() -> None:
    assert all(table.METHODS[name].trained for name in PLANS)
