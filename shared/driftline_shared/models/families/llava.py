"""LLaVA: vision tower -> two-layer projector -> LLaMA-style language model.

Serves `LlavaForConditionalGeneration` of transformers with any tower and language model it takes.
All tokens kept, logits equal the library's own forward; a subset keeps its original positions
(`multimodal`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline_shared.errors import PairError
from driftline_shared.models import adapters, quantize
from driftline_shared.models.multimodal import IGNORED, Generated, LmBatch, LmOutput
from driftline_shared.models.pair import AdapterSpec, Quantization

IMAGE = "<image>"


class LlavaModel:
    """A LLaVA checkpoint behind the MultimodalModel protocol; arguments as in `load_model`."""

    def __init__(
        self,
        model_dir: Path,
        *,
        prompt: str,
        adapter: AdapterSpec | None = None,
        quantization: Quantization = "none",
        twin: bool = False,
        device: str = "cpu",
    ) -> None:
        from transformers import AutoImageProcessor, AutoTokenizer, LlavaForConditionalGeneration

        self.device = torch.device(device)
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        loaded = LlavaForConditionalGeneration.from_pretrained(
            model_dir,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            quantization_config=quantize.quantization_config(quantization, dtype),
            device_map={"": self.device},
        )
        if twin:
            quantize.dequantize_(loaded, quantization)
        self.llava: Any = loaded.eval().requires_grad_(False)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
        self.processor: Any = AutoImageProcessor.from_pretrained(
            model_dir, local_files_only=True, backend="pil"
        )
        self.vocab_size = int(self.llava.config.text_config.vocab_size)
        vision = self.llava.config.vision_config
        self.num_tokens = (vision.image_size // vision.patch_size) ** 2
        self._prefix, self._suffix = _split_prompt(prompt)
        self.model: torch.nn.Module = loaded
        if adapter is not None:
            self.model = adapters.attach(loaded, adapter)

    # -- images to tokens ------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(B, V, D_v) float32 tower tokens, as `vision_feature_layer` and strategy choose them."""
        from PIL import Image

        pictures = [Image.fromarray(image) for image in images]
        pixels = self.processor(images=pictures, return_tensors="pt")["pixel_values"]
        tower = self.llava.model.vision_tower
        config = self.llava.config
        states = tower(
            pixels.to(self.device, tower.dtype), output_hidden_states=True, return_dict=True
        ).hidden_states
        layers = config.vision_feature_layer
        chosen = [states[i] for i in ([layers] if isinstance(layers, int) else layers)]
        if config.vision_feature_select_strategy == "default":
            chosen = [state[:, 1:] for state in chosen]
        return torch.cat(chosen, dim=-1).float()

    def project(self, tokens: Tensor) -> Tensor:
        """(B, K, D_v) -> (B, K, D), query adapter included."""
        projector = self.llava.model.multi_modal_projector
        dtype = next(projector.parameters()).dtype
        return projector(tokens.to(self.device, dtype))

    # -- tokens and text to the language model's input -------------------------------------------

    def batch(
        self,
        projected: Tensor,
        positions: Tensor,
        questions: Sequence[str],
        answers: Sequence[Sequence[int]] | None = None,
    ) -> LmBatch:
        """See `MultimodalModel.batch`."""
        prefix = self._prefix_ids()
        kept = projected.shape[1]
        texts = [self._text_ids(question) for question in questions]
        tails = [list(answer) for answer in answers] if answers is not None else [[] for _ in texts]
        lengths = [len(prefix) + kept + len(t) + len(a) for t, a in zip(texts, tails, strict=True)]
        rows, width = len(texts), max(lengths)
        ids = torch.full((rows, width), self._pad_id(), dtype=torch.long)
        mask = torch.zeros((rows, width), dtype=torch.long)
        places = torch.zeros((rows, width), dtype=torch.long)
        labels = torch.full((rows, width), IGNORED, dtype=torch.long)
        starts = torch.zeros(rows, dtype=torch.long)
        for row, (text, tail, length) in enumerate(zip(texts, tails, lengths, strict=True)):
            at = width - length if answers is None else 0
            image = at + len(prefix)
            after, end = image + kept, at + length
            ids[row, at:image] = torch.tensor(prefix, dtype=torch.long)
            ids[row, after:end] = torch.tensor(text + tail, dtype=torch.long)
            mask[row, at:end] = 1
            places[row, at:image] = torch.arange(len(prefix))
            places[row, image:after] = len(prefix) + positions[row].cpu()
            # The text starts where it would with all V tokens: kept ones stay where they were.
            first = len(prefix) + self.num_tokens
            places[row, after:end] = torch.arange(first, first + end - after)
            if tail:
                labels[row, end - len(tail) : end] = ids[row, end - len(tail) : end]
            starts[row] = image
        embeds = self.llava.get_input_embeddings()(ids.to(self.device))
        columns = starts.to(self.device)[:, None] + torch.arange(kept, device=self.device)
        index = columns[:, :, None].expand(-1, -1, embeds.shape[-1])
        embeds = embeds.scatter(1, index, projected.to(embeds.dtype))
        return LmBatch(
            inputs_embeds=embeds,
            attention_mask=mask.to(self.device),
            position_ids=places.to(self.device),
            labels=labels.to(self.device),
            visual_start=starts.to(self.device),
            num_visual=kept,
        )

    def forward(self, batch: LmBatch) -> LmOutput:
        """One pass of the language model over whole rows."""
        hidden = self.llava.model.language_model(
            inputs_embeds=batch.inputs_embeds,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
        ).last_hidden_state
        return LmOutput(logits=self.llava.lm_head(hidden).float(), hidden=hidden)

    @torch.no_grad()
    def generate(self, batch: LmBatch, max_new_tokens: int) -> Generated:
        """Greedy decoding with a KV cache; the library's `generate` takes no gaps in positions."""
        from transformers import DynamicCache

        language = self.llava.model.language_model
        cache = DynamicCache(config=language.config)
        embeds, mask, places = batch.inputs_embeds, batch.attention_mask, batch.position_ids
        rows = embeds.shape[0]
        running = torch.ones(rows, dtype=torch.bool, device=embeds.device)
        steps: list[Tensor] = []
        numbers: list[Tensor] = []
        for _ in range(max_new_tokens):
            hidden = language(
                inputs_embeds=embeds,
                attention_mask=mask,
                position_ids=places,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            logits = self.llava.lm_head(hidden[:, -1:]).float()[:, 0]
            chosen, scores = _step_scores(logits)
            steps.append(torch.where(running, chosen, self._end_id()))
            numbers.append(scores * running[:, None])
            running = running & (chosen != self._end_id())
            if not bool(running.any()):
                break
            embeds = self.llava.get_input_embeddings()(steps[-1])[:, None]
            mask = torch.cat([mask, mask.new_ones(rows, 1)], dim=1)
            places = places[:, -1:] + 1
        return self._generated(torch.stack(steps, dim=1), torch.stack(numbers, dim=1))

    # -- text ------------------------------------------------------------------------------------

    def answer_ids(self, text: str) -> list[int]:
        """Token ids of an answer, end token included."""
        return [*self.tokenizer(text, add_special_tokens=False)["input_ids"], self._end_id()]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens left out, stripped."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def _generated(self, steps: Tensor, numbers: Tensor) -> Generated:
        rows = []
        for line in steps.tolist():
            end = line.index(self._end_id()) + 1 if self._end_id() in line else len(line)
            rows.append(line[:end])
        scores = numbers.cpu().numpy().astype(np.float32)  # (B, n, 3)
        return Generated(
            tokens=rows,
            texts=[self.decode(row) for row in rows],
            top1=scores[:, :, 0],
            margin=scores[:, :, 1],
            entropy=scores[:, :, 2],
            lengths=np.asarray([len(row) for row in rows], dtype=np.int64),
        )

    def _prefix_ids(self) -> list[int]:
        begins = self.tokenizer.bos_token is not None and self._prefix.startswith(
            self.tokenizer.bos_token
        )
        return list(self.tokenizer(self._prefix, add_special_tokens=not begins)["input_ids"])

    def _text_ids(self, question: str) -> list[int]:
        text = self._suffix.replace("{question}", question)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _end_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    def _pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self._end_id())


def _split_prompt(prompt: str) -> tuple[str, str]:
    before, found, after = prompt.partition(IMAGE)
    if not found or IMAGE in after or after.count("{question}") != 1:
        raise PairError(f"a prompt holds {IMAGE} once and then {{question}} once, not {prompt!r}")
    return before, after


def _step_scores(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(B, vocabulary) -> chosen ids (B,) and (B, 3): top1, margin, normalised entropy."""
    log_p = torch.log_softmax(logits, dim=-1)
    p = log_p.exp()
    top = p.topk(2, dim=-1)
    entropy = -(p * log_p).sum(-1) / float(np.log(logits.shape[-1]))
    scores = torch.stack([top.values[:, 0], top.values[:, 0] - top.values[:, 1], entropy], dim=-1)
    return top.indices[:, 0], scores
