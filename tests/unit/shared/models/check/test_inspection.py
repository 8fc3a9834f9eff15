"""What headers say of a checkpoint is what the loaded model has, for every family."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from driftline_shared.models.adapters import slots
from driftline_shared.models.check.inspection import Inspection, inspect_checkpoint
from driftline_shared.models.check.memory import weight_bytes
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.loading import load_model
from driftline_shared.pair.families import anatomy_of
from driftline_shared.pair.pair import AdapterSpec
from tests.fakes.families import FAMILIES
from tests.fakes.tiny_pair import random_image


@pytest.fixture(scope="module", params=FAMILIES)
def fake(request: pytest.FixtureRequest) -> ModuleType:
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def folder(fake: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake.make_checkpoint(tmp_path_factory.mktemp("family") / "it", width=64, layers=2)


@pytest.fixture(scope="module")
def found(fake: ModuleType, folder: Path) -> Inspection:
    return inspect_checkpoint(folder, adapter=spec(folder), canvas=fake.CANVAS)


@pytest.fixture(scope="module")
def model(fake: ModuleType, folder: Path) -> FamilyModel:
    loaded = load_model(folder, prompt=fake.PROMPT, adapter=spec(folder), canvas=fake.CANVAS)
    assert isinstance(loaded, FamilyModel)
    return loaded


def spec(folder: Path) -> AdapterSpec:
    return AdapterSpec(rank=4, query_targets=anatomy_of(folder).query_targets)


def test_grid_and_width_are_those_of_the_tokens(fake, found: Inspection, model) -> None:
    assert found.grid == model.grid
    image = random_image(0)
    if fake.CANVAS is not None and fake.CANVAS.frames > 1:
        image = image[None].repeat(fake.CANVAS.frames, axis=0)
    assert tuple(model.encode([image]).shape) == (1, model.num_tokens, found.token_width)


def test_parameters_are_those_of_the_model(found: Inspection, model) -> None:
    base = {n: p for n, p in model.net.named_parameters() if "lora_" not in n}
    held = sum(p.numel() for n, p in base.items() if "modules_to_save" not in n)
    assert found.num_parameters == held
    assert min(found.parameters.values()) > 0
    assert found.language.rows == model.vocab_size
    assert weight_bytes(found, "float32") == 4 * held


def test_the_adapter_is_the_one_that_attaches(found: Inspection, model) -> None:
    held = slots.read(model.model)
    assert found.adapter.missing == ()
    assert found.adapter.num_tensors == len(held)
    assert found.adapter.num_parameters == sum(array.size for array in held.values())


def test_a_target_that_matches_nothing_is_named_with_the_nearest(folder: Path) -> None:
    wrong = AdapterSpec(
        query_targets=anatomy_of(folder).query_targets, language_targets=("q_proj", "up_prj")
    )
    missing = dict(inspect_checkpoint(folder, adapter=wrong, with_grid=False).adapter.missing)
    assert list(missing) == ["up_prj"]
    assert missing["up_prj"][0] == "up_proj"
