"""An exported pair beside its torch twin: the same numbers, with and without adapter and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from driftline_shared.dropout import DropoutMasks
from driftline_shared.models.adapters import slots
from driftline_shared.models.export.agreement import (
    ExportedLm,
    from_front,
    read_first,
    session,
)
from driftline_shared.models.export.pair_export import Exported
from driftline_shared.models.families.llava import LlavaModel
from driftline_shared.models.loading import load_student
from driftline_shared.models.multimodal import LmBatch
from driftline_shared.pair.export_file import (
    Export,
    adapter_shapes,
    check_files,
    graph_parameters,
    load_export,
)
from driftline_shared.pair.image_steps import pixels_of
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.update import Adapter
from tests.fakes import adapters
from tests.fakes.tiny_pair import random_image

KEPT = np.array([0, 3, 4, 7, 9, 14])
"""Some of the 16 visual tokens: positions have gaps."""

ASKED = ("is it red?", "what color is the circle, then?")
"""Unlike in length: the first row is padded."""

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def twin(pair: Pair) -> LlavaModel:
    model = load_student(pair, twin=True)
    assert isinstance(model, LlavaModel)
    return model


@pytest.fixture(scope="module")
def export(folder: Path) -> Export:
    return load_export(folder)


@pytest.fixture
def trained(twin: LlavaModel) -> Any:
    """An adapter with every tensor moved, norms too, in the twin while the test runs."""
    base = slots.read(twin.model)
    moved = adapters.trained(base, seed=3, step=0.1)
    slots.write(twin.model, moved)
    yield moved
    slots.write(twin.model, base)


def lm_of(folder: Path, export: Export, precision: str = "fp32") -> ExportedLm:
    return ExportedLm(folder, export.precisions[precision], export.model)


def tokens_of(twin: LlavaModel) -> torch.Tensor:
    return twin.encode([random_image(seed) for seed in range(2)])[:, torch.from_numpy(KEPT)]


@torch.no_grad()
def batch_of(twin: LlavaModel) -> LmBatch:
    """Two rows, padded on the left, of some of the tokens."""
    positions = torch.from_numpy(KEPT)[None].expand(2, -1)
    return twin.batch(twin.project(tokens_of(twin)), positions, ASKED)


def arrays(batch: LmBatch) -> tuple[Any, Any]:
    """Embeddings and positions as a graph reads them: what pads a row stands behind it."""
    return from_front(batch)[:2]


def read_places(batch: LmBatch) -> Any:
    return batch.attention_mask.numpy().astype(bool)


@torch.no_grad()
def wanted(twin: LlavaModel, batch: LmBatch) -> Any:
    return twin.forward(batch).logits.numpy()


def projected(folder: Path, tokens: torch.Tensor, given: dict[str, Any]) -> Any:
    graph = session(folder / "projector.onnx")
    return graph.run(["projected"], {"tokens": tokens.numpy()} | given)[0]


def test_logits_are_the_twins_with_padding_and_gaps(
    folder: Path, export: Export, twin: LlavaModel
) -> None:
    batch = batch_of(twin)
    assert not read_places(batch).all()
    found, _ = lm_of(folder, export).logits(*arrays(batch))
    off = np.abs(found[read_first(batch)] - wanted(twin, batch)[read_places(batch)]).max()
    assert off <= TOLERANCE


def test_steps_on_the_cache_are_one_pass(folder: Path, export: Export, twin: LlavaModel) -> None:
    batch = batch_of(twin)
    embeds, positions = arrays(batch)
    lm, width = lm_of(folder, export), embeds.shape[1]
    whole, _ = lm.logits(embeds, positions)
    for begin in (width - 1, width - 4):
        logits, cache = lm.logits(embeds[:, :begin], positions[:, :begin])
        for at in range(begin, width):
            step = slice(at, at + 1)
            logits, cache = lm.logits(embeds[:, step], positions[:, step], cache)
            assert np.abs(logits[:, 0] - whole[:, at]).max() <= TOLERANCE


def test_a_trained_adapter_gives_the_twins_logits(
    folder: Path, export: Export, twin: LlavaModel, trained: Adapter
) -> None:
    given = graph_parameters(export.adapter, trained)
    tokens = tokens_of(twin)
    with torch.no_grad():
        exact = twin.project(tokens).numpy()
    assert np.abs(projected(folder, tokens, given["projector"]) - exact).max() <= TOLERANCE
    batch = batch_of(twin)
    every = given["lm"] | given["head"]
    found, _ = lm_of(folder, export).logits(*arrays(batch), given=every)
    plain, _ = lm_of(folder, export).logits(*arrays(batch))
    exact, read = wanted(twin, batch)[read_places(batch)], read_first(batch)
    assert np.abs(found[read] - exact).max() <= TOLERANCE
    assert np.abs(plain[read] - exact).max() > 100 * TOLERANCE


def test_version_0_overrides_norms_only(export: Export, twin: LlavaModel) -> None:
    given = graph_parameters(export.adapter, slots.read(twin.model))
    assert not given["projector"]
    assert {name for part in given.values() for name in part} == {
        norm.input for norm in export.adapter.norms
    }


def test_masks_drop_what_the_twin_drops(folder: Path, export: Export, twin: LlavaModel) -> None:
    tokens = tokens_of(twin)
    torch_masks = DropoutMasks(rate=export.dropout_rate, seed=11)
    with torch.no_grad(), slots.dropout_passes(twin.model, torch_masks):
        exact = twin.project(tokens)
        batch = twin.batch(exact, torch.from_numpy(KEPT)[None].expand(2, -1), ASKED)
        logits = twin.forward(batch).logits.numpy()
    masks = DropoutMasks(rate=export.dropout_rate, seed=11)
    rows, width = batch.inputs_embeds.shape[:2]
    given: dict[str, dict[str, Any]] = {"projector": {}, "lm": {}}
    for row in export.dropout:
        places = len(KEPT) if row.part == "projector" else width
        given[row.part][row.input] = masks.draw(row.place, (rows, places, row.width))
    assert len(given["projector"]) == 1
    assert len(given["lm"]) == 2 * export.model.num_layers
    found = projected(folder, tokens, given["projector"])
    assert np.abs(found - exact.numpy()).max() <= TOLERANCE
    assert np.abs(found - projected(folder, tokens, {})).max() > 100 * TOLERANCE
    # The places of the masks are the twin's, which pads on the left.
    given["lm"] = {
        name: front(mask, read_places(batch), read_first(batch))
        for name, mask in given["lm"].items()
    }
    logits_found, _ = lm_of(folder, export).logits(*arrays(batch), given=given["lm"])
    off = np.abs(logits_found[read_first(batch)] - logits[read_places(batch)]).max()
    assert off <= TOLERANCE


def front(mask: Any, read: Any, first: Any) -> Any:
    """A dropout mask (B, T, width) whose padding is moved behind each row."""
    moved = np.ones_like(mask)
    moved[first] = mask[read]
    return moved


def test_queries_and_keys_give_the_twins_attention(
    folder: Path, export: Export, twin: LlavaModel
) -> None:
    batch = batch_of(twin)
    embeds, positions = arrays(batch)
    shapes, width = export.model, embeds.shape[1]
    empty = np.zeros((2, shapes.num_key_heads, 0, shapes.head_width), dtype=np.float32)
    fed = {"inputs_embeds": embeds, "position_ids": positions}
    fed |= {"lengths": np.full(2, width, np.int32), "total": np.full(1, width, np.int32)}
    for layer in range(shapes.num_layers):
        fed |= {f"past_key.{layer}": empty, f"past_value.{layer}": empty}
    layer = shapes.query_layers[0]
    query, key = session(folder / "lm.fp32.onnx").run(
        [f"query.{layer}", f"present_key.{layer}"], fed
    )
    read, first = read_places(batch), read_first(batch)
    last = np.arange(2), first.sum(axis=1) - 1
    scores = np.einsum(
        "bhd,bhtd->bht",
        query[last[0], :, last[1]],
        key.repeat(shapes.num_heads // shapes.num_key_heads, axis=1),
    ) / np.sqrt(shapes.head_width)
    scores = np.where(first[:, None], scores, -np.inf)
    found = np.exp(scores - scores.max(axis=-1, keepdims=True))
    found /= found.sum(axis=-1, keepdims=True)
    kept = []
    decoder: Any = twin.model.get_decoder()
    usual = decoder.config._attn_implementation
    hook = decoder.layers[layer].self_attn.register_forward_hook(
        lambda _module, _inputs, output: kept.append(output[1])
    )
    decoder.set_attn_implementation("eager")
    try:
        wanted(twin, batch)
    finally:
        hook.remove()
        decoder.set_attn_implementation(usual)
    exact = kept[0][:, :, -1].numpy()
    for row in range(2):
        off = found[row][:, first[row]] - exact[row][:, read[row]]
        assert np.abs(off).max() <= TOLERANCE


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_rounded_graphs_stay_near(
    folder: Path, export: Export, twin: LlavaModel, trained: Adapter, precision: str
) -> None:
    batch = batch_of(twin)
    given = graph_parameters(export.adapter, trained)
    found, cache = lm_of(folder, export, precision).logits(
        *arrays(batch), given=given["lm"] | given["head"]
    )
    exact = wanted(twin, batch)[read_places(batch)]
    off = np.square(found[read_first(batch)] - exact).mean()
    assert 0.0 < off < 0.02 * exact.var()
    assert len(cache) == 2 * export.model.num_layers


def test_pictures_become_the_twins_tokens(folder: Path, export: Export, twin: LlavaModel) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (45, 70, 3), dtype=np.uint8)
    pixels = pixels_of(picture, export.image)[None]
    exact = twin.encode([picture]).numpy()
    found = session(folder / "tower.fp32.onnx").run(["tokens"], {"pixels": pixels})[0]
    assert np.abs(found - exact).max() <= TOLERANCE


def test_the_export_is_the_pair_to_who_has_no_torch(folder: Path, pair: Pair) -> None:
    held = load_pair(folder)
    assert held.base_model == pair.base_model
    assert held.adapter == pair.adapter
    assert held.token_space.digest == pair.token_space.digest
    assert len(held.probe_set()) == len(pair.probe_set())
    assert not (folder / "student").exists()


def test_every_file_is_listed_with_its_digest(folder: Path, export: Export) -> None:
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert there == export.files.keys() | {"export.json"}
    check_files(folder, export)


def test_adapter_tables_name_every_tensor(export: Export, twin: LlavaModel) -> None:
    held = {name: array.shape for name, array in slots.read(twin.model).items()}
    assert adapter_shapes(export.adapter) == held


def test_the_report_counts_agreement(exported: tuple[Path, Exported]) -> None:
    made = exported[1]
    assert made.num_checked == 4
    assert made.agreement["fp32"] == 1.0
    assert made.logit_error <= TOLERANCE
    assert set(made.agreement) == set(made.export.precisions)
