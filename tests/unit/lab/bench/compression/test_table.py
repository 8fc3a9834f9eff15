"""The bench itself, on real models: the shipped pair for the table, random ones for speed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from driftline_lab.bench.compression.control import DRIVER, RANDOM, drop_at_random
from driftline_lab.bench.compression.downsampled import DOWNSAMPLED
from driftline_lab.bench.compression.rows import BASELINE
from driftline_lab.bench.compression.smollm2_models import Layout
from driftline_lab.bench.compression.speed import as_text, run_speed
from driftline_lab.bench.compression.stopwatch import Stopwatch, watched, watched_parts
from driftline_lab.bench.compression.subjects import load_subject, questions
from driftline_lab.bench.compression.table import Table, run_table
from driftline_lab.data import easyvqa
from driftline_shared.errors import ConfigError
from driftline_shared.models.compression import flops
from driftline_shared.models.compression.compressed_model import CompressedModel, facts_of
from driftline_shared.models.compression.table import METHODS, configured
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.loading import load_model
from driftline_shared.pair.pair import Canvas
from tests.fakes.families import FAMILIES
from tests.fakes.tiny_pair import PROMPT, SIZE, random_image, save_llava

NUM_VISUAL = 64


@pytest.fixture(scope="module")
def table() -> Table:
    return run_table(
        "tiny",
        side="teacher",
        methods="fastv:layer=2,vtw:keep=1.0",
        budgets=[0.25],
        num_questions=3,
        seed=1,
        threads=1,
    )


def test_the_table_begins_with_the_model_as_it_is(table: Table) -> None:
    assert [row.label for row in table.rows] == [
        BASELINE,
        DRIVER,
        RANDOM,
        DOWNSAMPLED,
        "fastv:layer=2",
        "vtw",
    ]
    first = table.rows[0]
    assert (first.share, first.prefill_share, first.first_ratio) == (1, 1, 1)
    assert first.visual_tokens == NUM_VISUAL


def test_what_drops_nothing_costs_and_answers_the_same(table: Table) -> None:
    for row in (table.rows[1], table.rows[5]):
        assert row.accuracy == table.rows[0].accuracy
        assert row.share_error == 0
        assert (row.prefill_share, row.kv_share) == (1, 1)


def test_counts_are_those_of_the_method(table: Table) -> None:
    """FastV from layer 2 of 4: 64 tokens twice, then 16."""
    row, whole = table.rows[4], table.rows[0]
    assert row.visual_tokens == (64 + 64 + 16 + 16) / 4
    # 2 x key width 256 x 4 bytes a place and layer; 2 layers lose 48 places.
    assert whole.kv_bytes - row.kv_bytes == pytest.approx(2 * 256 * 4 * 2 * 48)
    assert table.rows[2].visual_tokens == table.rows[3].visual_tokens == 16
    assert row.overhead_flops == pytest.approx(2 * 256 * (whole.kv_bytes / (2 * 256 * 4 * 4)))


def test_the_document_is_json(table: Table) -> None:
    document = json.loads(json.dumps(table.document()))
    assert document["rows"][2]["keep"] == 0.25
    assert document["num_questions"] == 3


def test_questions_are_held_out_and_drawn_by_the_seed() -> None:
    subject = load_subject("tiny", "student")
    asked = questions(subject, 20, seed=0)
    held_out = {(row.question, row.answer) for row in easyvqa.examples(easyvqa.Part.TEST)}
    assert all((each.question, each.answer) in held_out for each in asked)
    again, other = questions(subject, 20, seed=0), questions(subject, 20, seed=1)
    assert [each.question for each in asked] == [each.question for each in again]
    assert [each.question for each in asked] != [each.question for each in other]


def test_a_trained_method_without_weights_is_named_or_left_out() -> None:
    ask = {"side": "teacher", "budgets": [], "num_questions": 1, "seed": 0, "threads": 1}
    with pytest.raises(ConfigError, match="train-compressor voco"):
        run_table("tiny", methods="voco", **ask)
    done = run_table("tiny", methods="", **ask)
    assert "train-compressor voco" in done.skipped["voco"]


def test_random_tokens_are_drawn_anew_for_each_row(model: FamilyModel) -> None:
    images, asked = [random_image(0)] * 4, ["what shape is it?"] * 4
    kept = []
    for _ in range(2):
        compressed = drop_at_random(model, 0.5, seed=3)
        batch = compressed.look(images, asked).batch
        rows = compressed.compressed_generate(batch, 1).rows
        kept.append([row.survivors.tolist() for row in rows])
    assert kept[0] == kept[1], "the seed says which"
    assert {len(row) for row in kept[0]} == {8}
    assert len({tuple(row) for row in kept[0]}) > 1


# -- speed ---------------------------------------------------------------------------------------


def _write(folder: Path, seed: int) -> None:
    save_llava(folder, width=64, layers=4, tower_seed=seed)


LAYOUT = Layout(name="random", canvas=Canvas(height=SIZE, width=SIZE), write=_write, prompt=PROMPT)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FamilyModel:
    folder = tmp_path_factory.mktemp("random")
    _write(folder, 0)
    loaded = load_model(folder, prompt=PROMPT)
    assert isinstance(loaded, FamilyModel)
    return loaded


def test_the_speed_bench_says_what_was_saved_and_what_that_took() -> None:
    done = run_speed(
        methods="fastv,tome,dycoke", keep=0.25, rounds=2, seed=0, threads=1, layouts=[LAYOUT]
    )
    (layout,) = done["layouts"]
    rows = {row["label"]: row for row in layout["rows"]}
    assert list(rows) == [BASELINE, DRIVER, "fastv", "tome"], "dycoke reads clips"
    assert rows[BASELINE]["first_ratio"] == 1
    assert (rows["fastv"]["visual_first_layer"], rows["fastv"]["visual_last_layer"]) == (16, 4)
    assert (rows["tome"]["visual_first_layer"], rows["tome"]["visual_last_layer"]) == (4, 4)
    assert rows["fastv"]["overhead_ms"] > 0
    assert rows["tome"]["prefill_share"] < rows["fastv"]["prefill_share"] < 1
    assert "| fastv" in as_text(layout)
    json.dumps(done)


def _write_clips(folder: Path, seed: int) -> None:
    FAMILIES["llava_onevision_video"].make_checkpoint(folder, width=64, layers=4, tower_seed=seed)


def test_every_method_for_clips_is_timed() -> None:
    fake = FAMILIES["llava_onevision_video"]
    assert fake.CANVAS is not None
    canvas = replace(fake.CANVAS, frames=6)
    layout = Layout(name="clips", canvas=canvas, write=_write_clips, prompt=fake.PROMPT)
    done = run_speed(methods="", keep=0.25, rounds=1, seed=0, threads=1, layouts=[layout])
    (found,) = done["layouts"]
    assert found["skipped"] == {}
    wanted = {name for name, method in METHODS.items() if method.videos and not method.trained}
    assert {row["label"] for row in found["rows"]} == wanted | {BASELINE, DRIVER}


def test_trained_methods_alone_leave_nothing_to_time() -> None:
    with pytest.raises(ConfigError, match="training"):
        run_speed(methods="voco", keep=0.25, rounds=1, seed=0, threads=1, layouts=[LAYOUT])


@pytest.mark.parametrize("name", ["fastv", "sparsevlm", "tome"])
def test_a_watched_model_answers_the_same(model: FamilyModel, name: str) -> None:
    plain = CompressedModel(model, configured(name, {"keep": 0.5}, facts_of(model)))
    watch = Stopwatch()
    images, asked = [random_image(3)], ["what shape is it?"]
    with watched_parts(model, watch):
        timed = watched(plain, watch)
        said = [each.generate(each.look(images, asked).batch, 3) for each in (timed, plain)]
    assert said[0].tokens == said[1].tokens
    shown = watch.taken()
    assert (shown.looking > 0) == (name == "tome")
    assert (shown.reading > 0) == (name != "tome")
    assert shown.projector > 0
    assert watch == Stopwatch(), "what is taken is gone"
    model.project(model.encode(images))
    assert watch == Stopwatch(), "nobody listens any more"


@pytest.mark.parametrize(("name", "options"), [("fastv", {}), ("vtw", {}), ("voco", {"tokens": 2})])
def test_costs_follow_what_was_run(model: FamilyModel, name: str, options: dict[str, int]) -> None:
    """By torch's own count of the prefill, within a hundredth."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    facts = facts_of(model)
    made = configured(name, {"keep": 0.25, **options}, facts)
    weights = made.kind.fresh_weights(made.options, facts, 0)
    compressed = CompressedModel(model, replace(made, weights=weights))
    batch = compressed.look([random_image(1)], ["what shape is it?"]).batch
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        report = compressed.compressed_generate(batch, 1).rows[0]
    first = report.prefix[0].queries if report.prefix else 0
    cost = flops.cost(facts, report.layers, prefix=first)
    assert cost.prefill + cost.prefix == pytest.approx(counter.get_total_flops(), rel=0.01)
