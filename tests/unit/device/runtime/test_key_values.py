"""What layers read of a cache: parts of a prompt, and all that came behind it."""

from __future__ import annotations

import numpy as np

from driftline_device.runtime.onnx.key_values import KeyValues
from driftline_shared.pair.export_file import ModelTable

MODEL = ModelTable(
    num_visual_tokens=4,
    tower_width=2,
    width=4,
    vocabulary=8,
    num_layers=3,
    num_heads=1,
    num_key_heads=1,
    head_width=1,
    max_positions=64,
    query_layers=(0, 1, 2),
    max_new_tokens=4,
    cuts=(1,),
)


def cache_of(num_prompt: int) -> KeyValues:
    """Places hold their own number, in each layer from another hundred on."""
    cache = KeyValues(MODEL, rows=1, room=num_prompt + MODEL.max_new_tokens)
    for layer in range(3):
        for kind in ("key", "value"):
            name = f"past_{kind}.{layer}"
            numbers = 100 * layer + np.arange(num_prompt, dtype=np.float32)
            cache.put(0, {name: numbers[None, None, :, None]})
    return cache


def said(cache: KeyValues, number: float) -> None:
    """What a pass writes behind all that is read."""
    for layer, piece in ((0, 0), (1, 1), (2, 1)):
        for kind in ("key", "value"):
            at = cache.held(piece)
            cache._arrays[f"past_{kind}.{layer}"][0, 0, at] = number
    cache.lengths += 1


def read(cache: KeyValues, layer: int, piece: int) -> list[list[float]]:
    keys = cache.first_keys(layer, cache.held(piece))[0, :, 0].tolist()
    values = cache._arrays[f"past_value.{layer}"][0, 0, : cache.held(piece), 0].tolist()
    return [keys, values]


def test_a_part_is_read_with_all_that_came_behind_and_another_later() -> None:
    cache, layers = cache_of(5), range(1, 3)
    cache.read_only(1, layers, 5, None)
    assert cache.places_read(1) is None
    said(cache, -1.0)
    cache.read_only(1, layers, 5, np.asarray([0, 3]))
    assert read(cache, 1, 1) == [[100.0, 103.0, -1.0]] * 2
    said(cache, -2.0)
    assert read(cache, 2, 1) == [[200.0, 203.0, -1.0, -2.0]] * 2
    cache.read_only(1, layers, 5, np.asarray([1, 2, 4]))
    assert read(cache, 2, 1) == [[201.0, 202.0, 204.0, -1.0, -2.0]] * 2
    assert read(cache, 0, 0) == [[0.0, 1.0, 2.0, 3.0, 4.0, -1.0, -2.0]] * 2
    cache.read_only(1, layers, 5, None)
    assert read(cache, 1, 1) == [[100.0, 101.0, 102.0, 103.0, 104.0, -1.0, -2.0]] * 2
