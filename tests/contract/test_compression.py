"""What every compressor owes, for each line of the table of methods, on tiny random models.

Pictures are read by a LLaVA, clips by a LLaVA-OneVision. A method gets in wherever it wants: images
are looked at through it, and their rows run by the driver. The oracle of methods that only drop is
the library's own layers over the whole row, with what was dropped masked out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from driftline_shared.models.compression.compressed_model import CompressedModel, facts_of
from driftline_shared.models.compression.compressor import (
    Compression,
    ModelFacts,
)
from driftline_shared.models.compression.driver import Prefilled
from driftline_shared.models.compression.rows.batch import Taught, row_of
from driftline_shared.models.compression.rows.rows import READ_OF_TOWER, Kind
from driftline_shared.models.compression.table import METHODS, configured
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.loading import load_model
from driftline_shared.models.multimodal import IGNORED, LmBatch, answer_places
from driftline_shared.pair.pair import Canvas
from tests.fakes.families import FAMILIES
from tests.fakes.tiny_pair import QUESTIONS

STEPS, LAYERS, FRAMES, ROWS = 5, 6, 6, 3

KINDS = {
    "picture": "llava",
    "clip": "llava_onevision_video",
    "axes": "qwen2_5_vl",
    "deep": "qwen3_vl",
}

CASES = [
    (name, kind)
    for name, method in sorted(METHODS.items())
    for kind, fits in (("picture", method.images), ("clip", method.videos))
    if fits
]


@dataclass(frozen=True)
class Reader:
    """A tiny model, and the canvas of what it reads."""

    model: FamilyModel
    canvas: Canvas

    def images(self, seed: int) -> list[NDArray[np.uint8]]:
        """Three images; clips whose later frames are partly the first one again."""
        rng = np.random.default_rng(seed)
        shape = (self.canvas.frames, self.canvas.height, self.canvas.width, 3)
        images = rng.integers(0, 256, (ROWS, *shape), dtype=np.uint8)
        half = self.canvas.width // 2
        images[:, 1:, :, :half] = images[:, :1, :, :half]
        return list(images if self.canvas.frames > 1 else images[:, 0])


@dataclass(frozen=True)
class Case:
    """One method on one model."""

    name: str
    reader: Reader
    facts: ModelFacts
    options: dict[str, Any] = field(default_factory=dict)

    def compressed(self, keep: float, *, gradients: bool = False) -> CompressedModel:
        plain = configured(self.name, self.options | {"keep": keep}, self.facts)
        drawn = plain.kind.fresh_weights(plain.options, self.facts, seed=0)
        weights = {name: tensor.requires_grad_(gradients) for name, tensor in drawn.items()}
        return CompressedModel(self.reader.model, replace(plain, weights=weights))

    def whole(
        self,
        images: Sequence[NDArray[np.uint8]],
        answers: Sequence[Sequence[int]] | None = None,
        questions: Sequence[str] = QUESTIONS,
    ) -> LmBatch:
        """The uncompressed rows."""
        model = self.reader.model
        places = torch.arange(model.num_tokens).expand(len(images), -1)
        projected = model.project(model.encode(images))
        return model.batch(projected, places, questions[: len(images)], answers)


class Readers(dict[str, Reader]):
    """The tiny model of each kind, made when it is asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, kind: str) -> Reader:
        fake, folder = FAMILIES[KINDS[kind]], self._folder / kind
        fake.make_checkpoint(folder, width=64, layers=LAYERS)
        canvas = replace(fake.CANVAS, frames=FRAMES) if kind == "clip" else fake.CANVAS
        model = load_model(folder, prompt=fake.PROMPT, canvas=canvas)
        assert isinstance(model, FamilyModel)
        self[kind] = made = Reader(model, canvas or Canvas(height=32, width=32))
        return made


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Readers:
    return Readers(tmp_path_factory.mktemp("compression"))


@pytest.fixture(params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest, readers: Readers) -> Case:
    name, kind = request.param
    return Case(name, readers[kind], facts_of(readers[kind].model))


VARIANTS: list[tuple[str, str, dict[str, Any]]] = [
    ("dart", "picture", {"exact": False}),
    ("dycoke", "clip", {"threshold": -1.0, "prune": 0.5}),
    ("fastv", "picture", {"criterion": "all"}),
    ("holitom", "clip", {"merged": 0.0, "centre": 0.0}),
    ("longvu", "clip", {"cut": "tail"}),
    ("mod", "clip", {"gate": "identity"}),
    ("prumerge", "picture", {"update": "paper", "plus": True}),
    ("prumerge", "clip", {"adaptive": True, "plus": True}),
    ("pyramiddrop", "clip", {"renumber": False, "stages": 3}),
    ("quecc", "picture", {"residual": True}),
    ("sparsevlm", "picture", {"recycle": "sum", "renumber": True}),
    ("sparsevlm", "clip", {"recycle": "off", "average": "inputs"}),
    ("tome", "picture", {"inflection": 1.0, "proportional": False}),
    ("tome", "picture", {"where": "projector"}),
    ("ts_llava", "clip", {"order": "thumbnail_first"}),
    ("vidcom2", "clip", {"similarity": "cosine", "exact": True}),
    ("visionzip", "picture", {"contextual": 0.5}),
    ("vtw", "picture", {"renumber": True}),
]
"""Options other than the defaults, which every method must bear as well."""


examples = settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
keeps, seeds = st.floats(0.05, 0.95), st.integers(0, 99)


@torch.no_grad()
def test_a_keep_of_1_changes_nothing(case: Case) -> None:
    images, model = case.reader.images(0), case.compressed(1.0)
    for number in range(ROWS):
        only = slice(number, number + 1)
        wanted = case.reader.model.forward(case.whole(images[only], questions=QUESTIONS[only]))
        got = model.forward(model.look(images[only], QUESTIONS[only]).batch)
        assert got.logits.shape == wanted.logits.shape
        torch.testing.assert_close(got.logits, wanted.logits, atol=1e-6, rtol=0)
        torch.testing.assert_close(got.hidden, wanted.hidden, atol=1e-6, rtol=1e-6)
    said = model.generate(model.look(images, QUESTIONS).batch, STEPS)
    assert said.tokens == case.reader.model.generate(case.whole(images), STEPS).tokens


@examples
@given(keep=keeps, seed=seeds)
@torch.no_grad()
def test_text_stays_and_positions_rise(case: Case, keep: float, seed: int) -> None:
    check_row(case, keep, seed)


@torch.no_grad()
def check_row(case: Case, keep: float, seed: int) -> None:
    whole, done = _read(case, keep, seed)
    told = whole.prompt.text
    for held in [*done.held, done.row]:
        assert len(held.text) == len(told)
        assert bool((held.positions[0].diff() >= (len(held.positions) == 1)).all())
        # What is inserted takes positions of its own, and moves the text behind it.
        if len(held.positions) > 1 and not bool((held.kind == Kind.EXTRA).any()):
            assert bool(_among(held.positions, whole.prompt.positions).all())
        assert bool((held.token[held.visual].diff() > 0).all())
        assert int(held.kind[-1]) == Kind.TEXT
    survivors = done.survivors
    assert 0 < len(survivors) <= case.facts.grid.num_tokens
    assert bool((survivors.diff() > 0).all())


@examples
@given(keep=keeps, seed=seeds)
@torch.no_grad()
def test_counts_are_those_of_the_schedule(case: Case, keep: float, seed: int) -> None:
    check_counts(case, keep, seed)


@torch.no_grad()
def check_counts(case: Case, keep: float, seed: int) -> None:
    whole, done = _read(case, keep, seed)
    kinds = whole.prompt.kind
    num_text, num_visual = len(whole.prompt.text), len(whole.prompt.visual)
    kind = METHODS[case.name].compressor
    room = kind.tolerance * num_visual
    compressor = case.compressed(keep).compression.row()
    plan = compressor.schedule(num_text, num_visual, len(kinds) - num_text - num_visual)
    assert len(plan) == len(done.layers) == LAYERS
    for layer, (wanted, got) in enumerate(zip(plan, done.layers, strict=True)):
        assert abs(got.cached - wanted.cached) <= room, f"layer {layer} caches"
        assert abs(got.read - wanted.read) <= room, f"layer {layer} reads"
        assert abs(got.keys - wanted.keys) <= room, f"layer {layer} sees"
        if not done.prefix:
            assert abs(got.queries - wanted.queries) <= room, f"layer {layer} computes"
    assert done.cache.lengths() == [count.cached for count in done.layers]


@torch.no_grad()
def test_decoding_goes_on_from_the_compressed_prompt(case: Case) -> None:
    """Token by token it says what one pass over the finished answer says."""
    images, model = case.reader.images(3), case.compressed(0.3)
    made = model.generate(model.look(images, QUESTIONS).batch, STEPS)
    batch = model.look(images, QUESTIONS, made.tokens).batch
    asked = answer_places(batch)
    logits = model.forward(batch, asked).logits
    assert logits.argmax(-1).tolist() == [token for row in made.tokens for token in row]
    top = torch.cat(
        [torch.from_numpy(row[:n]) for row, n in zip(made.top1, made.lengths, strict=True)]
    )
    torch.testing.assert_close(logits.softmax(-1).amax(-1), top, atol=1e-5, rtol=0)


@torch.no_grad()
def test_rows_of_a_batch_answer_as_alone(case: Case) -> None:
    images, model = case.reader.images(4), case.compressed(0.4)
    questions = [QUESTIONS[0], QUESTIONS[1] * 3, QUESTIONS[2]]
    together = model.compressed_generate(model.look(images, questions).batch, STEPS)
    for number in range(ROWS):
        only = slice(number, number + 1)
        batch = model.look(images[only], questions[only]).batch
        alone = model.compressed_generate(batch, STEPS)
        assert together.generated.tokens[number] == alone.generated.tokens[0]
        assert together.rows[number].layers == alone.rows[0].layers
        np.testing.assert_array_equal(together.rows[number].survivors, alone.rows[0].survivors)


def test_gradients_reach_the_image_the_question_and_the_weights(case: Case) -> None:
    images, model = case.reader.images(5), case.compressed(0.5, gradients=True)
    answers = [model.answer_ids(word) for word in ("red", "two", "a circle")]
    batch = model.look(images, QUESTIONS, answers).batch
    embeds = batch.inputs_embeds
    if embeds.requires_grad:
        embeds.retain_grad()
    else:
        embeds.requires_grad_()
    asked = answer_places(batch)
    logits = model.forward(batch, asked).logits
    loss = torch.nn.functional.cross_entropy(logits, batch.labels[batch.labels != IGNORED])
    loss.backward()  # type: ignore[no-untyped-call]
    assert embeds.grad is not None and batch.holds is not None
    reached = embeds.grad.abs().sum(-1) > 0
    assert bool(embeds.grad.isfinite().all())
    assert bool((reached & (batch.holds >= 0)).any(dim=1).all()), "no visual token learns"
    text = (batch.holds == -1) & (batch.attention_mask > 0)
    last = torch.zeros_like(text).scatter(1, _lasts(batch)[:, None], True)
    assert bool(reached[text & ~last].all()), "text that does not learn"
    for name, tensor in model.compression.weights.items():
        assert tensor.grad is not None and bool(tensor.grad.isfinite().all()), name
    if METHODS[case.name].trained:
        learned = [t.grad for t in model.compression.weights.values() if t.grad is not None]
        assert any(float(each.abs().sum()) > 0 for each in learned)


@pytest.mark.parametrize(("name", "kind", "options"), VARIANTS)
def test_other_options_keep_the_contract(
    name: str, kind: str, options: dict[str, Any], readers: Readers
) -> None:
    case = Case(name, readers[kind], facts_of(readers[kind].model), options)
    test_a_keep_of_1_changes_nothing(case)
    check_row(case, 0.3, 0)
    if "adaptive" not in options:
        check_counts(case, 0.3, 0)
    test_decoding_goes_on_from_the_compressed_prompt(case)


QWEN = [
    (name, kind)
    for name, method in sorted(METHODS.items())
    for kind in ("axes", "deep")
    if method.images and not method.compressor.needs & set(READ_OF_TOWER)
]


@pytest.mark.parametrize("case", QWEN, ids="-".join, indirect=True)
def test_three_axes_and_features_behind_layers_keep_the_contract(
    case: Case, readers: Readers
) -> None:
    test_a_keep_of_1_changes_nothing(case)
    check_row(case, 0.4, 0)
    check_counts(case, 0.4, 0)
    test_decoding_goes_on_from_the_compressed_prompt(case)
    if case.reader is readers["deep"]:
        test_rows_of_a_batch_answer_as_alone(case)
        test_gradients_reach_the_image_the_question_and_the_weights(case)
    if METHODS[case.name].drop_only:
        check_dropping(case, 0.4, 0)


DROPPING = [case for case in CASES if METHODS[case[0]].drop_only]


@pytest.mark.parametrize("case", DROPPING, ids="-".join, indirect=True)
@examples
@given(keep=keeps, seed=seeds)
@torch.no_grad()
def test_dropping_equals_a_whole_run_with_a_mask(case: Case, keep: float, seed: int) -> None:
    check_dropping(case, keep, seed)


@torch.no_grad()
def check_dropping(case: Case, keep: float, seed: int) -> None:
    images, model = case.reader.images(seed)[:1], case.compressed(keep)
    answer = torch.from_numpy(np.random.default_rng(seed).integers(3, 90, STEPS)).tolist()
    whole = row_of(case.whole(images, [answer]), 0, case.facts.grid)
    row = row_of(model.look(images, QUESTIONS[:1], [answer]).batch, 0, case.facts.grid)
    compressor = _Listening(model.compression)
    done = model.driver.prefill(compressor.row, row.prompt)
    said = model.driver.extend(compressor.row, done, row.answer)
    wanted = _masked(case.reader.model, whole, done, compressor.read)
    text = whole.prompt.text
    got = torch.cat([done.row.states[done.row.text], said])
    places = torch.cat([text, torch.arange(len(said)) + len(whole.prompt)])
    torch.testing.assert_close(got, wanted[places], atol=1e-4, rtol=0)


class _Listening:
    """A method's compressor that notes which cached places each decoding step has read."""

    def __init__(self, compression: Compression) -> None:
        self.row = compression.row()
        self.read: dict[tuple[int, int], Tensor] = {}
        if not self.row.has("on_decode"):
            return
        asked = self.row.on_decode

        def on_decode(step: int, layer: int, cached: Any, attention: Any) -> Tensor | None:
            places = asked(step, layer, cached, attention)
            if places is not None:
                self.read[step, layer] = cached.positions[:, places]
            return places

        self.row.on_decode = on_decode  # type: ignore[method-assign]


def _masked(
    model: FamilyModel, whole: Taught, done: Prefilled, read: dict[tuple[int, int], Tensor]
) -> Tensor:
    """(n + q, D) hidden states of the library's layers over all places of prompt and answer.

    A layer's keys are those its cache holds, told apart by their positions; of them a step of the
    answer sees those it has read. Dropped places see themselves alone, and nobody sees them.
    """
    language, num, deep = model.language, len(whole.prompt), whole.prompt.deep
    states = torch.cat([whole.prompt.states, whole.answer])
    old = whole.prompt.positions
    new = torch.arange(1, len(whole.answer) + 1).expand(len(old), -1)
    positions = torch.cat([old, old[:, -1:] + new], dim=1)
    by_axis = positions[:, None] if len(old) > 1 else positions
    rotary = language.rotary_emb(states[None], position_ids=by_axis)
    causal = torch.ones(len(states), len(states), dtype=torch.bool).tril()
    hidden = states[None]
    for layer, held in enumerate(done.held):
        visible = causal.clone()
        visible[:, :num] &= _among(old, held.positions)
        for step in range(len(whole.answer)):
            if (step, layer) in read:
                visible[num + step, :num] &= _among(old, read[step, layer])
        visible |= torch.eye(len(states), dtype=torch.bool)
        mask = torch.zeros(visible.shape).masked_fill(~visible, float("-inf"))
        hidden = language.layers[layer](
            hidden,
            attention_mask=mask[None, None],
            position_embeddings=rotary,
        )
        if layer < (0 if deep is None else len(deep)):
            hidden[:, :num] += deep[layer]
    result: Tensor = language.norm(hidden)[0]
    return result


def _among(positions: Tensor, held: Tensor) -> Tensor:
    """(n,) which of `positions` (A, n) are among `held` (A, m), on all axes."""
    return (positions[:, :, None] == held[:, None]).all(dim=0).any(dim=1)


def _read(case: Case, keep: float, seed: int) -> tuple[Taught, Prefilled]:
    """The uncompressed row, and what the driver made of it, after three steps of decoding."""
    images, model = case.reader.images(seed)[:1], case.compressed(keep)
    whole = row_of(case.whole(images), 0, case.facts.grid)
    batch = model.look(images, QUESTIONS[:1]).batch
    row, compressor = row_of(batch, 0, case.facts.grid), batch.compressors[0]
    done = model.driver.prefill(compressor, row.prompt)
    words = case.reader.model.net.get_input_embeddings()(torch.tensor([5, 9, 12]))
    model.driver.extend(compressor, done, words)
    return whole, done


def _lasts(batch: LmBatch) -> Tensor:
    """(B,) the last place of each row, which predicts nothing that is asked for."""
    return batch.attention_mask.shape[1] - 1 - batch.attention_mask.flip(1).argmax(1)
