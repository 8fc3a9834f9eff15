"""Towers as graphs: any number of pictures, and int8 near enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from driftline_shared.models.export.agreement import session
from driftline_shared.models.export.tower.graph import quantize_tower, trace_tower

PIXELS = np.random.default_rng(0).standard_normal((6, 3, 16, 16)).astype(np.float32)


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.ReLU6(),
        nn.Conv2d(8, 12, 1),
        nn.Flatten(2),
    ).eval()


def patches() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 8, stride=8),
        nn.Flatten(2),
        nn.Linear(4, 24),
        nn.GELU(),
        nn.Linear(24, 4),
    ).eval()


def states(net: Any, pixels: torch.Tensor) -> torch.Tensor:
    return net(pixels).transpose(1, 2)


def tokens(file: Path) -> np.ndarray:
    found: np.ndarray = session(file).run(["tokens"], {"pixels": PIXELS})[0]
    return found


def exact(net: nn.Module) -> np.ndarray:
    with torch.no_grad():
        return states(net, torch.from_numpy(PIXELS)).numpy()


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.square(found - wanted).mean() / wanted.var())


@pytest.mark.parametrize("make", [convolutional, patches])
def test_the_graph_is_the_tower_for_any_number_of_pictures(make: Any, tmp_path: Path) -> None:
    net = make()
    trace_tower(net, states, PIXELS[:2], tmp_path / "tower.onnx")
    assert np.abs(tokens(tmp_path / "tower.onnx") - exact(net)).max() <= 1e-5


@pytest.mark.parametrize("make", [convolutional, patches])
def test_int8_is_near(make: Any, tmp_path: Path) -> None:
    net = make()
    trace_tower(net, states, PIXELS[:2], tmp_path / "tower.onnx")
    quantize_tower(tmp_path / "tower.onnx", PIXELS, tmp_path / "int8.onnx")
    assert 0.0 < error(tokens(tmp_path / "int8.onnx"), exact(net)) <= 0.01


def test_first_layers_kept_in_fp32_lose_less(tmp_path: Path) -> None:
    net = convolutional()
    trace_tower(net, states, PIXELS[:2], tmp_path / "tower.onnx")
    lost = []
    for kept in (0, 2):
        quantize_tower(tmp_path / "tower.onnx", PIXELS, tmp_path / "int8.onnx", kept=kept)
        lost.append(error(tokens(tmp_path / "int8.onnx"), exact(net)))
    assert lost[1] < lost[0]
