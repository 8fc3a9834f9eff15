"""What every family owes: it equals transformers, with all tokens and with any subset of them.

The oracle is the library's own path. What reaches its language model is recorded; a subset is the
same recording with the places of the dropped tokens taken out, run by the library's own model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor
from transformers import AutoModelForImageTextToText

from driftline_shared.errors import DataError
from driftline_shared.models.adapters import slots
from driftline_shared.models.check.inspection import inspect_checkpoint
from driftline_shared.models.check.memory import weight_bytes
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.loading import load_model
from driftline_shared.models.multimodal import IGNORED, answer_places
from driftline_shared.models.past import Past, text_starts
from driftline_shared.pair.families import ANATOMY
from driftline_shared.pair.pair import AdapterSpec, token_space_digest
from tests.fakes.families import FAMILIES, canvas_noise, whole_logits
from tests.fakes.tiny_pair import QUESTIONS

ATOL = 1e-4
STEPS = 5


@dataclass(frozen=True)
class Case:
    """One family: its fake, a saved checkpoint, our model, the library's, and three images."""

    fake: ModuleType
    folder: Path
    model: FamilyModel
    library: Any
    images: list[NDArray[np.uint8]]

    def inputs(self, row: int) -> dict[str, Any]:
        return self.fake.library_inputs(self.folder, self.images[row], QUESTIONS[row])

    def everywhere(self, rows: int) -> Tensor:
        return torch.arange(self.model.num_tokens).expand(rows, -1)


@pytest.fixture(scope="module", params=FAMILIES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    fake = FAMILIES[request.param]
    folder = fake.make_checkpoint(tmp_path_factory.mktemp("family") / "it", width=64, layers=3)
    model = load_model(folder, prompt=fake.PROMPT, canvas=fake.CANVAS)
    assert isinstance(model, FamilyModel)
    library = AutoModelForImageTextToText.from_pretrained(folder).eval()
    images = [canvas_noise(fake.CANVAS, seed) for seed in range(3)]
    return Case(fake, folder, model, library, images)


@contextmanager
def recorded(library: Any, language: str) -> Iterator[dict[str, Any]]:
    """What the library hands its own language model."""
    seen: dict[str, Any] = {}
    parts = dict(library.model.named_children())

    def keep(_module: object, _arguments: object, given: dict[str, Any]) -> None:
        seen.update(given)

    handle = parts[language].register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


@torch.no_grad()
def test_all_tokens_give_the_librarys_logits(case: Case) -> None:
    for row in range(3):
        wanted = case.library(**case.inputs(row)).logits
        got = whole_logits(case.model, case.images[row], QUESTIONS[row])
        torch.testing.assert_close(got, wanted, atol=ATOL, rtol=0)


@torch.no_grad()
def test_all_tokens_give_the_librarys_text(case: Case) -> None:
    said = []
    for row in range(3):
        given = case.inputs(row)
        wanted = case.library.generate(**given, max_new_tokens=STEPS, do_sample=False)
        batch = _batch(case, row, case.everywhere(1))
        said.append(case.model.generate(batch, STEPS).tokens[0])
        assert said[-1] == wanted[0, given["input_ids"].shape[1] :].tolist()
    assert len({tuple(tokens) for tokens in said}) > 1, "the fake says the same of everything"


@torch.no_grad()
def test_further_questions_go_on_from_what_was_read_of_a_picture(case: Case) -> None:
    model, texts = case.model, [*QUESTIONS[:2], "is there a circle, or rather something else?"]
    first = _batch(case, 0, case.everywhere(1))
    past = Past()
    model.generate(first, STEPS, past=past)
    ((start, end),) = text_starts(first)
    assert start == 0
    assert end > int(first.visual.max())
    prefix = past.prefix_of(0, start, end)
    assert prefix is not None
    assert prefix.num_places == end
    projected = model.project(model.encode([case.images[0]] * len(texts)))
    # Of different lengths, padded between what was read and their own words.
    batch = model.batch(projected, case.everywhere(len(texts)), texts)
    wanted = model.generate(batch, STEPS)
    got = model.generate(batch, STEPS, past=Past(prefix))
    assert got.tokens == wanted.tokens
    np.testing.assert_allclose(got.entropy, wanted.entropy, atol=ATOL)
    np.testing.assert_allclose(got.top1, wanted.top1, atol=ATOL)


@torch.no_grad()
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_a_subset_gives_the_librarys_logits_at_the_original_positions(
    case: Case, share: float
) -> None:
    total = case.model.num_tokens
    rng = np.random.default_rng(7)
    for row in range(3):
        chosen = rng.permutation(total)[: max(1, int(share * total))]
        kept = torch.from_numpy(np.sort(chosen))[None]
        given = case.inputs(row)
        with recorded(case.library, ANATOMY[case.fake.MODEL_TYPE].language) as seen:
            case.library(**given)
        wanted = _library_subset(case, seen, row, kept)
        got = case.model.forward(_batch(case, row, kept)).logits
        torch.testing.assert_close(got, wanted, atol=ATOL, rtol=0)


@torch.no_grad()
def test_rows_of_different_subsets_answer_as_alone(case: Case) -> None:
    """A batch whose rows kept different tokens, its prompts of different lengths."""
    rng = np.random.default_rng(3)
    count = max(1, case.model.num_tokens // 2)
    drawn = [np.sort(rng.permutation(case.model.num_tokens)[:count]) for _ in QUESTIONS]
    kept = torch.from_numpy(np.stack(drawn))
    whole = case.model.encode(case.images)
    tokens = torch.stack([row[some] for row, some in zip(whole, kept, strict=True)])
    together = case.model.generate(
        case.model.batch(case.model.project(tokens), kept, QUESTIONS), STEPS
    )
    for row in range(3):
        alone = case.model.generate(_batch(case, row, kept[row : row + 1]), STEPS)
        assert together.tokens[row] == alone.tokens[0]
        n = len(alone.tokens[0])
        np.testing.assert_allclose(together.entropy[row, :n], alone.entropy[0, :n], atol=ATOL)


@torch.no_grad()
def test_training_rows_score_what_generation_saw(case: Case) -> None:
    projected = case.model.project(case.model.encode(case.images))
    kept = case.everywhere(3)
    made = case.model.generate(case.model.batch(projected, kept, QUESTIONS), STEPS)
    batch = case.model.batch(projected, kept, QUESTIONS, made.tokens)
    logits = case.model.forward(batch).logits
    asked = answer_places(batch)
    torch.testing.assert_close(
        case.model.forward(batch, asked).logits, logits[asked], atol=ATOL, rtol=0
    )
    for row, ids in enumerate(made.tokens):
        places = (batch.labels[row] != IGNORED).nonzero()[:, 0]
        assert batch.labels[row, places].tolist() == ids
        p = logits[row, places - 1].softmax(-1).max(-1).values.numpy()
        np.testing.assert_allclose(p, made.top1[row, : len(ids)], atol=ATOL)


@torch.no_grad()
def test_images_of_one_batch_do_not_touch_each_other(case: Case) -> None:
    together = case.model.encode(case.images)
    assert together.shape[:2] == (3, case.model.num_tokens)
    for row, image in enumerate(case.images):
        torch.testing.assert_close(
            together[row], case.model.encode([image])[0], atol=ATOL, rtol=1e-4
        )


def test_whatever_a_question_spells_is_text(case: Case) -> None:
    tokens = case.model.tokenizer.added_tokens_decoder
    control = [token.content for token in tokens.values()]
    token = case.model.tokenizer.convert_ids_to_tokens(case.model.image_id)
    half = len(token) // 2
    nested = f"{token[:half]}{token}{token[half:]}"
    plain = case.model.prompt_ids("?")
    marks = [each for each in plain[1] if each in tokens]
    for spelled in (*control, nested, "".join(control)):
        before, after = case.model.prompt_ids(f"what is {spelled}?")
        assert before == plain[0]
        assert [each for each in after if each in tokens] == marks, spelled


def test_a_question_longer_than_the_model_reads_is_refused_before_it_runs(case: Case) -> None:
    case.model.check_question("what is it?", 16)
    with pytest.raises(DataError, match="tokens long, and this model has room for"):
        case.model.check_question("what shape " * 20_000, 16)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@torch.no_grad()
def test_quantization_touches_the_language_model_only(case: Case, quantization: Any) -> None:
    options = {"prompt": case.fake.PROMPT, "canvas": case.fake.CANVAS, "quantization": quantization}
    held = load_model(case.folder, **options)
    tokens = case.model.encode(case.images[:1])
    torch.testing.assert_close(held.encode(case.images[:1]), tokens, atol=0, rtol=0)
    torch.testing.assert_close(held.project(tokens), case.model.project(tokens), atol=0, rtol=0)
    twin = load_model(case.folder, **options, twin=True)
    for row in range(3):
        ours, theirs = (whole_logits(m, case.images[row], QUESTIONS[row]) for m in (held, twin))
        plain = whole_logits(case.model, case.images[row], QUESTIONS[row])
        assert not torch.allclose(plain, theirs, atol=1e-3), "the language model is quantized"
        # int8 also rounds activations, which no twin in floating point can show.
        limit = ATOL if quantization == "nf4" else 0.05 * float(ours.abs().max())
        torch.testing.assert_close(ours, theirs, atol=limit, rtol=0)


@torch.no_grad()
def test_the_adapter_attaches_and_changes_nothing_at_version_0(case: Case) -> None:
    spec = AdapterSpec(rank=2, query_targets=ANATOMY[case.fake.MODEL_TYPE].query_targets)
    adapted = load_model(
        case.folder, prompt=case.fake.PROMPT, canvas=case.fake.CANVAS, adapter=spec
    )
    held = slots.read(adapted.model)
    wrapped = {name.rpartition(".")[0] for name in held if name.endswith(".A")}
    assert {f"projector.{target}" for target in spec.query_targets} <= wrapped
    layers = [name for name in wrapped if name.startswith("layers.")]
    assert len(layers) == 3 * len(spec.language_targets), "seven layers in each of three blocks"
    assert len(wrapped) == len(layers) + len(spec.query_targets), "nothing in the tower"
    plan = inspect_checkpoint(case.folder, adapter=spec, with_grid=False).adapter
    assert plan.missing == () and plan.num_tensors == len(held)
    assert plan.num_parameters == sum(array.size for array in held.values())
    tokens = case.model.encode(case.images[:1])
    torch.testing.assert_close(adapted.encode(case.images[:1]), tokens, atol=0, rtol=0)
    torch.testing.assert_close(
        adapted.project(tokens), case.model.project(tokens), atol=1e-6, rtol=0
    )
    changed = {name: array + 0.05 * name.endswith(".B") for name, array in held.items()}
    slots.write(adapted.model, changed)
    assert not torch.allclose(adapted.project(tokens), case.model.project(tokens), atol=1e-3)


def test_headers_say_what_the_model_has(case: Case) -> None:
    spec = AdapterSpec(query_targets=ANATOMY[case.fake.MODEL_TYPE].query_targets)
    found = inspect_checkpoint(case.folder, adapter=spec, canvas=case.fake.CANVAS)
    assert found.grid == case.model.grid
    tokens = case.model.encode(case.images[:1])
    assert tokens.shape == (1, case.model.num_tokens, found.token_width)
    held = sum(parameter.numel() for parameter in case.model.net.parameters())
    assert found.num_parameters == held and min(found.parameters.values()) > 0
    assert found.language.rows == case.model.vocab_size
    assert weight_bytes(found, "float32") == 4 * held
    wrong = replace(spec, language_targets=("q_proj", "up_prj"))
    missing = inspect_checkpoint(case.folder, adapter=wrong, with_grid=False).adapter.missing
    assert [(target, nearest[0]) for target, nearest in missing] == [("up_prj", "up_proj")]


def test_the_token_space_is_the_tower(case: Case, tmp_path: Path) -> None:
    digest = token_space_digest(case.folder)
    small = case.fake.make_checkpoint(tmp_path / "small", width=32, layers=2)
    assert token_space_digest(small) == digest
    other = case.fake.make_checkpoint(tmp_path / "other", width=32, layers=2, tower_seed=1)
    assert token_space_digest(other) != digest
    parts = ANATOMY[case.fake.MODEL_TYPE]
    path = small / "model.safetensors"
    weights = load_file(path)
    projector = next(name for name in weights if f"{parts.projector}." in name)
    weights[projector] = weights[projector] + 1
    save_file(weights, path, metadata={"format": "pt"})
    assert token_space_digest(small) == digest, "the projector is not part of the token space"


def _batch(case: Case, row: int, kept: Tensor) -> Any:
    tokens = case.model.encode([case.images[row]])[:, kept[0]]
    return case.model.batch(case.model.project(tokens), kept, [QUESTIONS[row]])


def _library_subset(case: Case, seen: dict[str, Any], row: int, kept: Tensor) -> Tensor:
    """The library's language model on its own inputs without the places of dropped tokens."""
    embeds = seen["inputs_embeds"]
    length = embeds.shape[1]
    places = seen.get("position_ids")
    if places is None:
        places = torch.arange(length)[None]
    projected = case.model.project(case.model.encode([case.images[row]]))[0]
    # Which place holds which token is read off the library's own embeddings, not off our layout.
    found = (embeds[0][:, None] - projected[None, :, : embeds.shape[2]]).abs().amax(-1) < 1e-4
    assert found.sum(0).tolist() == [1] * case.model.num_tokens, "each token lies at one place"
    dropped = torch.ones(case.model.num_tokens, dtype=torch.bool)
    dropped[kept[0]] = False
    stays = ~found[:, dropped].any(dim=1)
    extra = {}
    if seen.get("visual_pos_masks") is not None:
        visual = seen["visual_pos_masks"][0]
        extra["visual_pos_masks"] = seen["visual_pos_masks"][:, stays]
        extra["deepstack_visual_embeds"] = [
            states[stays[visual]] for states in seen["deepstack_visual_embeds"]
        ]
    language = dict(case.library.model.named_children())[ANATOMY[case.fake.MODEL_TYPE].language]
    hidden = language(
        inputs_embeds=embeds[:, stays],
        position_ids=places[..., stays],
        attention_mask=torch.ones(1, int(stays.sum()), dtype=torch.long),
        **extra,
    ).last_hidden_state
    return case.library.get_output_embeddings()(hidden)
