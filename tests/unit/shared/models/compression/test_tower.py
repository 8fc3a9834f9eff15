"""What compressors read of a tower, against the tower's own attention and hidden states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from driftline_shared.assembly.towers import register_towers
from driftline_shared.assembly.towers.efficientnet_lite import EfficientNetLiteConfig
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.models.compression.compressed_model import facts_of
from driftline_shared.models.compression.compressor import (
    Frames,
    Options,
    TokenCompressor,
    kept_count,
)
from driftline_shared.models.compression.methods.prumerge import PrumergeCompressor, PrumergeOptions
from driftline_shared.models.compression.methods.quecc import QueccCompressor, QueccOptions
from driftline_shared.models.compression.methods.tome import TomeCompressor, TomeOptions
from driftline_shared.models.compression.rows.rows import BlockTokens, TowerTokens
from driftline_shared.models.compression.tower import Look, look, question_state
from driftline_shared.models.compression.tower_blocks import outputs_of
from driftline_shared.models.loading import load_model
from driftline_shared.tokens import Grid
from tests.fakes.compression import some_facts
from tests.fakes.families import FAMILIES
from tests.fakes.tiny_pair import make_tokenizer, text_sizes
from tests.unit.shared.models.families.test_llava import clip_llava

QUESTION = "what shape is it?"


class Everything(TokenCompressor):
    """Asks for all a tower may give and remembers it."""

    needs = frozenset({"attention", "keys", "head_attention", "head_keys", "layers", "question"})
    seen: TowerTokens
    asked: Tensor | None

    def on_vision(self, tokens: TowerTokens, question: Tensor | None) -> TowerTokens:
        self.seen, self.asked = tokens, question
        return tokens


class Blockwise(TokenCompressor):
    """Runs the tower block by block and merges nothing."""

    calls = 0

    @property
    def blocks(self) -> Any:
        return "required"

    def block_bias(self, tokens: BlockTokens) -> Tensor | None:
        return tokens.size.log()

    def on_block(self, block: int, num_blocks: int, tokens: BlockTokens) -> BlockTokens:
        self.calls += 1
        return tokens


class Chooser(TokenCompressor):
    """Reads frames 0 and 2 of three, and two extra pictures."""

    def on_frames(self, clip: Any) -> Frames:
        return Frames(kept=np.array([0, 2]), extra=np.stack([clip[1], clip[0]]))


def loaded(name: str, tmp_path: Path) -> Any:
    fake = FAMILIES[name]
    folder = fake.make_checkpoint(tmp_path / name, width=32, layers=2)
    return load_model(folder, prompt=fake.PROMPT, canvas=fake.CANVAS)


def picture_for(model: Any, seed: int = 0) -> Any:
    canvas = getattr(model, "_canvas", None)
    side = model.net.config.vision_config.image_size
    height, width = (canvas.height, canvas.width) if canvas else (side, side)
    shape = (height, width, 3)
    if model.grid.frames > 1:
        shape = (model.grid.frames, *shape)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def looked(model: Any, kind: type[TokenCompressor], image: Any) -> tuple[Any, Look]:
    """A fresh compressor, and what it left of an image."""
    method = kind(Options(), facts_of(model))
    return method, look(model, method, image, QUESTION)


def class_token_llava(folder: Path, layer: int = -2) -> Any:
    """A LLaVA whose tower has a class token, and three layers."""
    return load_model(clip_llava(folder / "m", layers=layer), prompt="<image>{question}\n")


def with_one_head(model: Any) -> Any:
    """Its attention maps are then those of heads that are not split."""
    for block in model.net.model.vision_tower.encoder.layers:
        block.self_attn.num_heads, block.self_attn.head_dim = 1, 32
        block.self_attn.scale = 32**-0.5
    return model


def eager(model: Any, pixels: Tensor) -> Any:
    """The tower's own attention maps and hidden states."""
    tower = model.net.model.vision_tower
    tower.set_attn_implementation("eager")
    with torch.no_grad():
        read = tower(pixels, output_hidden_states=True, output_attentions=True)
    tower.set_attn_implementation("sdpa")
    return read


@pytest.mark.parametrize("name", ["llava", "llava_onevision", "llava_onevision_video"])
def test_a_look_without_a_method_is_what_the_family_encodes(name: str, tmp_path: Path) -> None:
    model = loaded(name, tmp_path)
    image = picture_for(model)
    _, seen = looked(model, TokenCompressor, image)
    assert torch.equal(seen.tokens.values, model.encode([image])[0])
    assert seen.tokens.token.tolist() == list(range(model.num_tokens))
    assert seen.extra is None
    assert torch.isfinite(model.project(seen.tokens.values[None])).all()


@pytest.mark.parametrize("name", ["llava", "llava_onevision", "class_token"])
def test_blocks_without_merging_are_what_the_family_encodes(name: str, tmp_path: Path) -> None:
    """Up to the layer that the family reads, the second of three where there is a class token."""
    model = class_token_llava(tmp_path) if name == "class_token" else loaded(name, tmp_path)
    image = picture_for(model)
    method, seen = looked(model, Blockwise, image)
    torch.testing.assert_close(seen.tokens.values, model.encode([image])[0], atol=1e-5, rtol=1e-5)
    assert seen.tokens.token.tolist() == list(range(model.num_tokens))
    assert method.calls == 2 * len(model.views([image]))


def test_a_class_token_says_what_it_attends_to(tmp_path: Path) -> None:
    """With one head the row is the tower's own; the class token is no visual token."""
    model = with_one_head(class_token_llava(tmp_path))
    image = picture_for(model)
    read = eager(model, model.views([image]))
    method, _ = looked(model, Everything, image)
    assert method.seen.attention is not None and method.seen.keys is not None
    torch.testing.assert_close(method.seen.attention, read.attentions[-1][0, 0, 0, 1:])
    hidden = read.hidden_states
    assert len(hidden) == 4
    depths = [2, 2, 3, 3]  # of three layers: round(3 * share)
    wanted = torch.cat([hidden[depth][0, 1:] for depth in depths], dim=-1)
    torch.testing.assert_close(method.seen.layers, wanted)
    last = model.net.model.vision_tower.encoder.layers[-1]
    keys = last.self_attn.k_proj(last.layer_norm1(hidden[-2]))[0, 1:]
    torch.testing.assert_close(method.seen.keys, keys)


def test_without_a_class_token_all_tokens_are_asked(tmp_path: Path) -> None:
    model = with_one_head(loaded("llava_onevision_video", tmp_path))
    clip = picture_for(model)
    read = eager(model, model.views([clip]))
    method, _ = looked(model, Everything, clip)
    patches = read.attentions[-1][:, 0].mean(dim=1)  # (F, P)
    cells = model.net.model.apply_pooling(patches[:, :, None])[:, :, 0].flatten()
    torch.testing.assert_close(method.seen.attention, cells)
    # A clip's token reaches the method as its four patches, without its place.
    assert method.seen.values.shape[-1] == 4 * 32


class FasterVlm(TokenCompressor):
    """A published method in one file: the tokens that the class token looks at, by head."""

    needs = frozenset({"head_attention"})

    def on_vision(self, tokens: TowerTokens, question: Tensor | None) -> TowerTokens:
        assert tokens.head_attention is not None
        score = tokens.head_attention.mean(dim=1)
        chosen = score.topk(kept_count(self.options.keep, len(score))).indices
        return tokens.take(chosen.sort().values)


@pytest.mark.parametrize("layer", [-1, -2])
def test_heads_are_told_apart_in_the_layer_that_made_the_tokens(layer: int, tmp_path: Path) -> None:
    model = class_token_llava(tmp_path, layer)
    image = picture_for(model)
    read = eager(model, model.views([image]))
    method, _ = looked(model, Everything, image)
    wanted = read.attentions[layer][0, :, 0, 1:]  # (H, P)
    torch.testing.assert_close(method.seen.head_attention, wanted.T)
    block = model.net.model.vision_tower.encoder.layers[layer]
    keys = block.self_attn.k_proj(block.layer_norm1(read.hidden_states[layer - 1]))[0, 1:]
    torch.testing.assert_close(method.seen.head_keys, keys)
    seen = look(model, FasterVlm(Options(keep=0.5), facts_of(model)), image, QUESTION).tokens
    best = wanted.mean(dim=0).topk(model.num_tokens // 2).indices
    assert seen.token.tolist() == best.sort().values.tolist()


def test_heads_of_a_tower_without_a_class_token_are_means_over_all(tmp_path: Path) -> None:
    model = loaded("llava_onevision_video", tmp_path)
    clip = picture_for(model)
    method, _ = looked(model, Everything, clip)
    patches = eager(model, model.views([clip])).attentions[-1].mean(dim=2).transpose(1, 2)
    cells = model.net.model.apply_pooling(patches).flatten(0, 1)
    torch.testing.assert_close(method.seen.head_attention, cells)


def test_the_question_is_read_alone(tmp_path: Path) -> None:
    model = loaded("llava", tmp_path)
    method, _ = looked(model, Everything, picture_for(model))
    ids = torch.tensor([model.tokenizer(QUESTION)["input_ids"]])
    alone = model.net.model.language_model(input_ids=ids).last_hidden_state[0, -1]
    torch.testing.assert_close(method.asked, alone)
    assert torch.isfinite(question_state(model, "")).all()


def test_kept_frames_keep_their_tokens_and_extra_pictures_are_like_frames(tmp_path: Path) -> None:
    model = loaded("llava_onevision_video", tmp_path)
    clip = picture_for(model)
    seen = look(model, Chooser(Options(), facts_of(model)), clip, QUESTION)
    whole = model.encode([clip])[0]
    cells = model.grid.rows * model.grid.cols
    kept = [*range(cells), *range(2 * cells, 3 * cells)]
    assert seen.tokens.token.tolist() == kept
    torch.testing.assert_close(seen.tokens.values, whole[kept])
    assert seen.extra is not None
    wanted = torch.cat([whole[cells : 2 * cells], whole[:cells]])
    torch.testing.assert_close(seen.extra, wanted)
    with pytest.raises(DataError, match="clip of 2 pictures"):
        look(model, Chooser(Options(), facts_of(model)), clip[:2], QUESTION)


def test_hooks_are_gone_even_after_an_error() -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(ZeroDivisionError), outputs_of({"x": layer}) as got:
        layer(torch.ones(1, 2))
        raise ZeroDivisionError
    assert set(got) == {"x"}
    assert not layer._forward_hooks


def efficientnet_llava(folder: Path) -> Any:
    """A LLaVA as the pair `smol` is: tokens are cells of feature maps."""
    side = 128
    tokenizer = make_tokenizer(("<image>",))
    register_towers()
    config = LlavaConfig(
        vision_config=EfficientNetLiteConfig(image_size=side),
        text_config=LlamaConfig(**text_sizes(tokenizer, width=32, layers=1)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlavaForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder)
    return load_model(folder, prompt="<image>{question}\n")


def test_feature_maps_have_no_attention_keys_layers_or_blocks(tmp_path: Path) -> None:
    model = efficientnet_llava(tmp_path / "m")
    image, known = picture_for(model), facts_of(model)
    for method, options, what in (
        (PrumergeCompressor, PrumergeOptions(), "Prumerge .* efficientnet_lite, .* attention"),
        (QueccCompressor, QueccOptions(), "Quecc .* efficientnet_lite, .* several layers"),
        (TomeCompressor, TomeOptions(where="tower"), "Tome .* efficientnet_lite, .* blocks"),
    ):
        with pytest.raises(ConfigError, match=what):
            look(model, method(options, known), image, QUESTION)
    merged = look(model, TomeCompressor(TomeOptions(keep=0.3), known), image, QUESTION).tokens
    assert len(merged.token) == 5
    torch.testing.assert_close(
        (merged.values * merged.size[:, None]).sum(0), model.encode([image])[0].sum(0)
    )


def test_what_a_tower_lacks_is_named(tmp_path: Path) -> None:
    clips = loaded("llava_onevision_video", tmp_path)
    with pytest.raises(ConfigError, match=r"Blockwise .* siglip_vision_model.* four"):
        look(clips, Blockwise(Options(), facts_of(clips)), picture_for(clips), QUESTION)
    other = loaded("smolvlm", tmp_path)
    lists = some_facts(Grid(rows=1, cols=1))
    image = np.zeros((16, 32, 3), dtype=np.uint8)
    with pytest.raises(ConfigError, match=r"Everything reads attention, .*layers .* smolvlm"):
        look(other, Everything(Options(), lists), image, QUESTION)
    plain = look(other, TokenCompressor(Options(), lists), image, QUESTION)
    assert torch.equal(plain.tokens.values, other.encode([image])[0])
