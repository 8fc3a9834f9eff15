"""Random pairs whose teacher has another vision tower, another tokenizer or a padded vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from driftline_shared.models.fit.translator_fit import fit_pair_translator
from driftline_shared.pair.pair import load_pair, token_space_digest
from driftline_shared.pair.pair_file import write_fitted
from tests.fakes.tiny_pair import (
    ANSWERS,
    PATCH,
    QUESTIONS,
    SIZE,
    TOWER_WIDTH,
    make_tiny_pair,
    make_tokenizer,
    random_image,
    tiny_llava,
)

_SPECIAL = ["<image>", "<pad>", "<s>", "</s>"]


def byte_tokenizer(merged: tuple[str, ...] = ("is circle red", "teal yes")) -> Any:
    """Byte-level as the student's, with other ids and other merges."""
    tokenizer = Tokenizer(tokenizer_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=275,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(merged, trainer)
    return _fast(tokenizer)


def space_tokenizer() -> Any:
    """As SentencePiece models: `▁` for a space, one before every text, bytes as a last resort."""
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = sorted(set("".join((*QUESTIONS, *ANSWERS)) + "abcdefghijklmnopqrstuvwxyz"))
    pieces = [*_SPECIAL, *fallback, *(x for x in letters if x != " "), "▁"]
    merges = [("▁", "r"), ("e", "d"), ("▁r", "ed"), ("a", "l"), ("t", "e"), ("te", "al")]
    pieces += ["".join(pair) for pair in merges]
    tokenizer = Tokenizer(
        tokenizer_models.BPE(
            vocab={piece: i for i, piece in enumerate(pieces)},
            merges=merges,
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(_SPECIAL)
    return _fast(tokenizer)


def make_mixed_pair(
    folder: Path,
    *,
    tokenizer: Any = None,
    num_padded: int = 0,
    size: int = SIZE,
    patch: int = PATCH,
    tower_width: int = TOWER_WIDTH,
    vocabulary: str = "",
) -> Path:
    """Write a pair into `folder`: the tiny student with another teacher.

    `num_padded`: rows of its output layer without a token. Another `size`, `patch` or
    `tower_width` makes another tower: then a translator is fitted on random images.
    """
    make_tiny_pair(folder, quantization="none", num_images=8)
    for path in (folder / "teacher").iterdir():
        path.unlink()
    tokenizer = tokenizer or make_tokenizer(("<image>",))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = _teacher(tokenizer, num_padded, size=size, patch=patch, tower_width=tower_width)
    shares = (size, patch, tower_width) == (SIZE, PATCH, TOWER_WIDTH)
    if shares:
        student = LlavaForConditionalGeneration.from_pretrained(
            folder / "student", local_files_only=True
        )
        model.model.vision_tower.load_state_dict(student.model.vision_tower.state_dict())
    model.save_pretrained(folder / "teacher")
    tokenizer.save_pretrained(folder / "teacher")
    SiglipImageProcessorPil(size={"height": size, "width": size}).save_pretrained(
        folder / "teacher"
    )
    file = folder / "pair.toml"
    if vocabulary:
        file.write_text(file.read_text() + f'[distillation]\nvocabulary = "{vocabulary}"\n')
    if not shares:
        assert token_space_digest(folder / "teacher") != token_space_digest(folder / "student")
        spec = fit_pair_translator(load_pair(folder), [random_image(seed) for seed in range(10)])
        write_fitted(file, translator=spec)
    return folder


def _fast(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def _teacher(
    tokenizer: Any, num_padded: int, *, size: int, patch: int, tower_width: int
) -> LlavaForConditionalGeneration:
    sizes = {"size": size, "patch": patch, "tower_width": tower_width}
    model = tiny_llava(tokenizer, 48, 2, padded=num_padded, **sizes)
    # Text only: single bytes beyond ASCII are in every vocabulary and make no text.
    said = [i for text, i in tokenizer.get_vocab().items() if text.strip("▁Ġ").isalpha()]
    said = [i for i in said if tokenizer.convert_ids_to_tokens(i).strip("▁Ġ").isascii()]
    silent = torch.ones(len(model.lm_head.weight), dtype=torch.bool)
    silent[[*said, tokenizer.eos_token_id]] = False
    model.lm_head.weight.data[silent] = 0.0
    return model
