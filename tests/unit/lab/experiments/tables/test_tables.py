"""Every table on a random pair: made once, kept, told apart by its configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from driftline_cloud.distill.student import Models
from driftline_lab.baselines.table import BASELINES
from driftline_lab.experiments.lab import Lab, described, digest_of
from driftline_lab.experiments.plan import Plan
from driftline_lab.experiments.tables import ablation, accuracy, forgetting
from driftline_lab.experiments.tables.folder import write_table
from driftline_lab.experiments.tables.listed import TABLES, table_named
from driftline_lab.experiments.tables.scale import Choice, Scale, full_scale, quick_scale
from driftline_lab.experiments.tables.showing import duration
from driftline_lab.replay.cache.store import ResultStore
from driftline_shared.errors import ConfigError
from tests.fakes.material import random_plan

FEW = ("driftline", "source-only", "full-fp16-down")


@pytest.fixture(scope="module", autouse=True)
def few_arms() -> Iterator[None]:
    """Every baseline has runs of its own elsewhere: here, tables are made of three."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accuracy, "BASELINES", {name: BASELINES[name] for name in FEW})
        patch.setattr(ablation, "AKD", {})
        patch.setattr(forgetting, "COMPARED", FEW[1:2])
        yield


@pytest.fixture(scope="session")
def scale(loaded: Models) -> Scale:
    """Two short segments of the real world, seen by a random pair."""
    plan = random_plan(pair=str(loaded.pair.dir), segments=("source", "night"))
    return replace(
        quick_scale(),
        plan=plan,
        long_segments=("source", "night", "fog"),
        drops=(0.0, 0.5),
        scorers=("random",),
        sample_shares=(0.5,),
    )


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.fixture
def lab(loaded: Models, store: ResultStore, out: Path) -> Iterator[Lab]:
    yield Lab(out, store, load=lambda _: loaded)


SLOW = ("ablation", "forgetting", "token-share")
EACH = [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in TABLES]


@pytest.mark.parametrize("name", EACH)
def test_a_table_is_made_once(lab: Lab, scale: Scale, out: Path, name: str) -> None:
    folder = out / name
    assert write_table(TABLES[name], lab, scale, out)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(first) == ["config.json", "plot.png", "result.json", "table.md"]
    assert first["table.md"].startswith(f"# {TABLES[name].title}\n".encode())
    with Image.open(folder / "plot.png") as plot:
        assert plot.width > 100
    made = lab.num_made
    assert not write_table(TABLES[name], lab, scale, out)
    assert lab.num_made == made
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_a_table_says_what_its_runs_took(lab: Lab, scale: Scale, out: Path) -> None:
    write_table(TABLES["links"], lab, scale, out)
    plans = [(plan, each) for each in TABLES["links"].arms(scale) for plan in each.plans]
    seconds = [lab.run(plan, each.baseline).seconds["all"] for plan, each in plans]
    took = json.loads((out / "links" / "result.json").read_text())["took"]
    assert took == {"num_runs": len(seconds), "seconds": pytest.approx(sum(seconds))}
    assert f" in {len(seconds)} runs, " in (out / "links" / "table.md").read_text()
    # What streams nothing took what its own measuring took.
    write_table(TABLES["gate-scores"], lab, scale, out)
    took = json.loads((out / "gate-scores" / "result.json").read_text())["took"]
    assert took["num_runs"] == 0 and took["seconds"] > 0


def test_a_duration_is_in_the_unit_that_people_use() -> None:
    assert [duration(each) for each in (0.4, 119, 720, 7199, 12_240)] == [
        "0 s",
        "119 s",
        "12 min",
        "120 min",
        "3.4 h",
    ]


def test_another_seed_is_another_table(lab: Lab, scale: Scale, out: Path) -> None:
    table = TABLES["gate-scores"]
    write_table(table, lab, scale, out)
    before = (out / table.name / "result.json").read_bytes()
    assert write_table(table, lab, replace(scale, seeds=(1,)), out)
    assert (out / table.name / "result.json").read_bytes() != before


def test_a_broken_result_is_made_again(lab: Lab, scale: Scale, out: Path) -> None:
    table = TABLES["captions"]
    write_table(table, lab, scale, out)
    (out / table.name / "result.json").write_text("{")
    assert write_table(table, lab, scale, out)
    assert json.loads((out / table.name / "result.json").read_text())["result"]["world"]


def test_no_two_arms_of_a_table_are_the_same_runs() -> None:
    for scale in (full_scale(), quick_scale()):
        for table in TABLES.values():
            if table.name == "pareto":  # its sweeps meet the product's own share, under two labels
                continue
            digests = [
                digest_of(described(plan, each.baseline))
                for each in table.arms(scale)
                for plan in each.plans
            ]
            assert len(digests) == len(set(digests)), table.name


def test_a_table_of_some_baselines_names_the_others(lab: Lab, scale: Scale, out: Path) -> None:
    some = replace(scale, baselines=("source-only",))
    assert write_table(TABLES["accuracy"], lab, some, out)
    assert "`--baselines`: full-fp16-down." in (out / "accuracy" / "table.md").read_text()
    config = json.loads((out / "accuracy" / "config.json").read_text())
    assert config["left_out"] == ["full-fp16-down"]
    assert [each["label"] for each in config["arms"]] == ["driftline", "source-only"]


def test_what_is_no_baseline_is_in_every_choice() -> None:
    some = Choice(baselines=("source-only",)).scale()
    arms = {name: [each.label for each in table.arms(some)] for name, table in TABLES.items()}
    assert arms["accuracy"] == ["driftline", "source-only"]
    assert arms["links"] == ["driftline"]
    assert arms["forgetting"][:2] == ["driftline", "no memory rows"]
    for name in ("ablation", "token-share", "gate-scores"):
        assert arms[name] == [each.label for each in TABLES[name].arms(full_scale())]


def test_a_pair_learns_as_it_does_by_default_and_in_one_thread() -> None:
    plans = {pair: full_scale(pair).plan for pair in ("tiny", "smol")}
    assert plans["tiny"].distil == plans["smol"].distil == Plan().distil
    assert {plan.distil.threads for plan in plans.values()} == {1}


def test_a_size_that_is_not_given_stays() -> None:
    plan = Choice(questions=90).scale().plan
    assert (plan.questions, plan.tests) == (90, Plan().tests)


def test_an_unknown_table_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="accuracy, captions"):
        table_named("speed")
