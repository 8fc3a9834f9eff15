"""Distil settings: typos, wrong types and impossible values are refused by name."""

from __future__ import annotations

import pytest

from driftline_cloud.distill.settings import DistilSettings
from driftline_shared.errors import ConfigError
from driftline_shared.pair.spec import DistillationSpec


def test_settings_survive_the_round_trip() -> None:
    settings = DistilSettings(a3=0.0, passes=3.5, threads=1)
    assert DistilSettings.from_mapping(settings.to_mapping()) == settings
    assert DistilSettings.from_mapping({}) == DistilSettings()
    settings = DistilSettings(compressor="fastv", compressor_options={"keep": 0.25, "layer": 1})
    assert DistilSettings.from_mapping(settings.to_mapping()) == settings


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"leraning_rate": 1e-3}, "distil.leraning_rate: unknown key.* learning_rate"),
        ({"threads": 1.5}, "distil.threads: is a whole number, not 1.5"),
        ({"a1": "one"}, "a1.*number"),
        ({"a2": -1.0}, "distil.a2: is at least 0.0, not -1.0"),
        ({"a2": float("nan")}, "a2"),
        ({"threads": 0}, "threads"),
        ({"min_steps": 10, "max_steps": 5}, "max_steps"),
        ({"compressor": 1}, "compressor: is a text"),
        ({"compressor_options": 0.5}, "compressor_options: is a table"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        DistilSettings.from_mapping(values)


def test_a_pair_names_what_nobody_set() -> None:
    named: dict[str, object] = {"learning_rate": 1e-3, "max_steps": 60}
    found = DistilSettings(a5=3.0).of_pair(named)
    assert (found.learning_rate, found.max_steps, found.a5) == (1e-3, 60, 3.0)
    assert DistilSettings(max_steps=130).of_pair(named).max_steps == 130, "set to the default"
    assert DistilSettings(threads=1).of_pair({}) == DistilSettings(threads=1)
    with pytest.raises(ConfigError, match="max_steps is 60, below min_steps, 100") as caught:
        DistilSettings(min_steps=100, a5=1.0).of_pair({**named, "a5": 6.0})
    assert "the pair names learning_rate = 0.001, max_steps = 60" in str(caught.value)
    assert "a5" not in str(caught.value) and "distil.max_steps" in caught.value.fix


def test_many_steps_at_least_take_the_most_along_unless_that_is_set_or_named() -> None:
    many = DistilSettings(min_steps=200)
    assert (many.of_pair({}).max_steps, many.num_steps(1)) == (200, 200)
    assert many.of_pair({"max_steps": 300}).max_steps == 300
    again = DistilSettings.from_mapping(many.of_pair({}).model_dump())
    assert again == many.of_pair({}), "what was printed reads back"


def test_few_steps_take_the_fewest_along_unless_that_was_set() -> None:
    few = DistilSettings().of_pair({"max_steps": 10})
    assert (few.min_steps, few.max_steps, few.num_steps(1)) == (10, 10, 10)
    again = DistilSettings.from_mapping(few.model_dump())
    assert again == few, "what was printed reads back"
    assert DistilSettings(max_steps=41).min_steps == 40
    assert DistilSettings.model_validate({"max_steps": "12"}).min_steps == 12
    with pytest.raises(ConfigError, match="max_steps is 10, below min_steps, 40"):
        DistilSettings.from_mapping({"min_steps": 40, "max_steps": 10})


def test_what_a_pair_may_name_is_a_setting_within_its_bounds() -> None:
    every = DistillationSpec(
        learning_rate=1.0,
        a5=1e3,
        max_steps=1_000_000,
        extra_questions=100,
        num_source_rows=1,
        trained_share=1.0,
    )
    assert DistilSettings().of_pair(every.settings).to_mapping() == every.settings
    assert len(every.settings) == len(DistillationSpec.model_fields) - 1


def test_steps_grow_with_the_samples_within_bounds() -> None:
    settings = DistilSettings(passes=10, batch_size=30, min_steps=20, max_steps=150)
    assert [settings.num_steps(n) for n in (0, 1, 300, 5000)] == [0, 20, 100, 150]
