"""What compressors read of a tower, as a graph beside what torch reads: with a class token or none,
tokens of the last block or of one before it, tiles without padding, clips whose tokens are pooled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from driftline_shared.models.export.agreement import session
from driftline_shared.models.export.tower.reads import hidden_depths, tower_table, write_reads
from driftline_shared.pair.tower_table import READS
from tests.unit.shared.models.compression.test_tower import (
    Everything,
    class_token_llava,
    efficientnet_llava,
    loaded,
    looked,
    picture_for,
)

MODELS: dict[str, Any] = {
    "class token, last block": lambda folder: class_token_llava(folder, -1),
    "class token, the one before": lambda folder: class_token_llava(folder, -2),
    "class token, the first": lambda folder: class_token_llava(folder, -3),
    "patches": lambda folder: loaded("llava", folder),
    "tiles": lambda folder: loaded("llava_onevision", folder),
    "clips": lambda folder: loaded("llava_onevision_video", folder),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_reads_what_torch_reads(name: str, tmp_path: Path) -> None:
    model = MODELS[name](tmp_path)
    images = [picture_for(model, seed) for seed in range(2)]
    write_reads(model, tmp_path / "reads.onnx")
    graph = session(tmp_path / "reads.onnx")
    with torch.no_grad():
        pixels = model.views(images)
        states = model.net.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    given = {
        f"hidden.{depth}": states[depth].unflatten(0, (len(images), -1)).numpy()
        for depth in hidden_depths(model)
    }
    found = dict(zip(READS, graph.run(READS, given), strict=True))
    for number, image in enumerate(images):
        method, _ = looked(model, Everything, image)
        for what in READS:
            wanted = getattr(method.seen, what).detach().numpy()
            np.testing.assert_allclose(found[what][number], wanted, atol=1e-5, err_msg=what)


def test_the_table_says_what_the_tower_is(tmp_path: Path) -> None:
    clips = tower_table(loaded("llava_onevision_video", tmp_path))
    assert (clips.place, clips.blocks, clips.heads, clips.width) == (2, 2, 2, 32)
    assert clips.reads is not None
    # Feature maps have no attention, and another family does not say what its tokens are made of.
    for other in (efficientnet_llava(tmp_path / "maps"), loaded("smolvlm", tmp_path)):
        assert tower_table(other).reads is None
