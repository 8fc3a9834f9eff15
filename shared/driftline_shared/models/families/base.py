"""What all families share: prompts, batches, positions, the forward pass and greedy generation.

A family is a subclass that says how images become tower tokens, how tokens are projected, and how
the image lies in the sequence (`ImageLayout`). A visual token is what becomes *one* position of the
language model, so every subset of the V tokens is a sequence the language model can read: kept
tokens, learned separators and text keep the positions they have in the whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline_shared.callbacks import OnToken, finished_text
from driftline_shared.errors import PairError
from driftline_shared.models import quantize, whole
from driftline_shared.models.adapters import slots
from driftline_shared.models.multimodal import (
    IGNORED,
    SEPARATOR_PLACE,
    TEXT_PLACE,
    Generated,
    LmBatch,
    LmOutput,
)
from driftline_shared.models.past import Past
from driftline_shared.models.steps import step_scores
from driftline_shared.pair.pair import AdapterSpec, Canvas, Quantization
from driftline_shared.pair.prompt_text import IMAGE, PromptText, check_length, control_tokens
from driftline_shared.tokens import Grid

TEXT, LEARNED = -1, -2
"""Places of an `ImageLayout` that hold no visual token: text, and a learned separator."""


@dataclass(frozen=True, kw_only=True)
class ImageLayout:
    """The image's stretch of the sequence with all V tokens kept; L places, A position axes.

    `ids` (L,): token ids; read at `TEXT` places only. `visual` (L,): flat grid index of the visual
    token at a place, or `TEXT`, or `LEARNED`; every index 0..V-1 once, in any order. `positions`
    (A, L): position counted from the first place. `span`: where the text after it goes on.
    """

    ids: Tensor
    visual: Tensor
    positions: Tensor
    span: int

    @staticmethod
    def plain(num_tokens: int) -> ImageLayout:
        """V tokens in the order of the grid, one position each."""
        places = torch.arange(num_tokens)
        return ImageLayout(
            ids=torch.zeros_like(places), visual=places, positions=places[None], span=num_tokens
        )

    @staticmethod
    def of_ids(ids: Sequence[int], image_id: int) -> ImageLayout:
        """Separator text between visual tokens: `ids` as the family's processor writes them."""
        row = torch.tensor(ids, dtype=torch.long)
        visual = torch.full_like(row, TEXT)
        of_image = row == image_id
        visual[of_image] = torch.arange(int(of_image.sum()))
        places = torch.arange(len(row))
        return ImageLayout(ids=row, visual=visual, positions=places[None], span=len(row))


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One row of a batch before padding: T places.

    `ids` (T,), `positions` (A, T), `visual` (K,) places of the kept tokens in the order given,
    `learned` places of learned separators, `answer` number of answer tokens at the end, `holds`
    (T,) as in `LmBatch`, `words` places of the question's own words.
    """

    ids: Tensor
    positions: Tensor
    visual: Tensor
    learned: Tensor
    answer: int
    holds: Tensor
    words: range


class FamilyModel(ABC):
    """A checkpoint behind the MultimodalModel protocol; arguments as in `load_model`."""

    def __init__(
        self,
        model_dir: Path,
        *,
        prompt: str,
        adapter: AdapterSpec | None = None,
        quantization: Quantization = "none",
        twin: bool = False,
        device: str = "cpu",
        dtype: str | None = None,
        canvas: Canvas | None = None,
    ) -> None:
        from transformers import AutoTokenizer

        self.device = torch.device(device)
        compute = _dtype(dtype, self.device)
        # What is not quantized stays in float32 beside an adapter: its norms begin at the base's,
        # and version 0 must be the same bits on a CPU and on an accelerator.
        stored = torch.float32 if adapter is not None else compute
        loaded = whole.load_net(
            model_dir,
            dtype=stored,
            quantization_config=quantize.quantization_config(quantization, compute, model_dir),
            device_map={"": self.device},
        )
        whole.check_values(loaded, model_dir)
        quantize.exact_(loaded, quantization)
        if twin:
            quantize.dequantize_(loaded, quantization)
        self.net: Any = loaded.eval().requires_grad_(False)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
        whole.check_vocabulary(self.net, self.tokenizer, model_dir)
        self.vocab_size = int(self.net.config.get_text_config().vocab_size)
        self._prompt = _checked_prompt(prompt)
        self._prepare(model_dir, canvas)
        whole.check_tower(self, canvas, model_dir)
        self._layout = self.layout()
        # Place of each grid index in the whole image's stretch.
        places = (self._layout.visual >= 0).nonzero()[:, 0]
        self._place_of = torch.empty(self.num_tokens, dtype=torch.long)
        self._place_of[self._layout.visual[places]] = places
        self.model: torch.nn.Module = loaded
        if adapter is not None:
            self.model = slots.attach(loaded, adapter)

    # -- what a family says -----------------------------------------------------------------------

    grid: Grid
    """Where the tokens of an image on this canvas sit."""

    @abstractmethod
    def _prepare(self, model_dir: Path, canvas: Canvas | None) -> None:
        """Load the image processor, settle the canvas and set `grid`; PairError where it cannot."""

    @abstractmethod
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """See `MultimodalModel.encode`."""

    @abstractmethod
    def project(self, tokens: Tensor) -> Tensor:
        """See `MultimodalModel.project`."""

    @abstractmethod
    def layout(self) -> ImageLayout:
        """How an image on this canvas lies in the sequence."""

    @property
    def language(self) -> Any:
        """The language model without its head."""
        return self.net.model.language_model

    @property
    def image_id(self) -> int:
        """Token id of the family's image placeholder."""
        return int(self.net.config.image_token_id)

    def learned(self) -> Tensor:
        """(D,) the learned separator at `LEARNED` places."""
        raise NotImplementedError(f"{type(self).__name__} has no learned separator")

    def visual_inputs(
        self, projected: Tensor, visual: Tensor, shape: torch.Size
    ) -> tuple[Tensor, dict[str, Any]]:
        """Embeddings (B, K, D) of projected tokens, and further inputs of the language model.

        `visual` (B, K): their places in a sequence of `shape` (B, T, D).
        """
        return projected, {}

    # -- protocol ---------------------------------------------------------------------------------

    @property
    def num_tokens(self) -> int:
        """V, the visual tokens of one image."""
        return self.grid.num_tokens

    def batch(
        self,
        projected: Tensor,
        positions: Tensor,
        questions: Sequence[str],
        answers: Sequence[Sequence[int]] | None = None,
    ) -> LmBatch:
        """See `MultimodalModel.batch`."""
        tails = answers if answers is not None else [()] * len(questions)
        rows = [
            self._row(question, kept, list(tail))
            for question, kept, tail in zip(questions, positions.cpu(), tails, strict=True)
        ]
        width = max(len(row.ids) for row in rows)
        axes = rows[0].positions.shape[0]
        ids = torch.full((len(rows), width), self.pad_id(), dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        places = torch.zeros((axes, len(rows), width), dtype=torch.long)
        labels = torch.full((len(rows), width), IGNORED, dtype=torch.long)
        visual = torch.zeros((len(rows), projected.shape[1]), dtype=torch.long)
        holds = torch.full((len(rows), width), TEXT_PLACE, dtype=torch.long)
        words = torch.zeros((len(rows), width), dtype=torch.bool)
        for number, row in enumerate(rows):
            at = width - len(row.ids) if answers is None else 0
            end = at + len(row.ids)
            ids[number, at:end] = row.ids
            mask[number, at:end] = 1
            places[:, number, at:end] = row.positions
            labels[number, end - row.answer : end] = row.ids[len(row.ids) - row.answer :]
            visual[number] = at + row.visual
            holds[number, at:end] = row.holds
            words[number, at + row.words.start : at + row.words.stop] = True
        embeds = self.net.get_input_embeddings()(ids.to(self.device))
        visual = visual.to(self.device)
        tokens, extra = self.visual_inputs(projected, visual, embeds.shape)
        index = visual[:, :, None].expand(-1, -1, embeds.shape[-1])
        embeds = embeds.scatter(1, index, tokens.to(embeds.dtype))
        embeds = self._separated(embeds, rows, width if answers is None else None)
        return LmBatch(
            inputs_embeds=embeds,
            attention_mask=mask.to(self.device),
            position_ids=(places if axes > 1 else places[0]).to(self.device),
            labels=labels.to(self.device),
            visual=visual,
            extra=extra,
            holds=holds.to(self.device),
            words=words.to(self.device),
        )

    def forward(self, batch: LmBatch, places: Tensor | None = None) -> LmOutput:
        """See `MultimodalModel.forward`."""
        hidden = self.language(
            inputs_embeds=batch.inputs_embeds,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
            **batch.extra,
        ).last_hidden_state
        if places is not None:
            hidden = hidden[places]
        return LmOutput(logits=self.head(hidden), hidden=hidden)

    @torch.no_grad()
    def generate(
        self,
        batch: LmBatch,
        max_new_tokens: int,
        on_token: OnToken | None = None,
        *,
        past: Past | None = None,
    ) -> Generated:
        """Greedy decoding with a KV cache; the library's `generate` takes no gaps in positions."""
        past = past or Past()
        cache = past.open(self.language.config, len(batch.inputs_embeds))
        batch = past.rest(batch)
        embeds, mask, places = batch.inputs_embeds, batch.attention_mask, batch.position_ids
        rows, ends = embeds.shape[0], torch.tensor(self.end_ids(), device=embeds.device)
        running = torch.ones(rows, dtype=torch.bool, device=embeds.device)
        extra: Mapping[str, Any] = batch.extra
        steps: list[Tensor] = []
        numbers: list[Tensor] = []
        for _ in range(max_new_tokens):
            hidden = self.language(
                inputs_embeds=embeds,
                attention_mask=mask,
                position_ids=places,
                past_key_values=cache,
                use_cache=True,
                **extra,
            ).last_hidden_state
            chosen, scores = step_scores(self.head(hidden[:, -1:])[:, 0])
            steps.append(torch.where(running, chosen, ends[0]))
            numbers.append(scores * running[:, None])
            if on_token is not None:
                ids = torch.stack(steps, dim=1).tolist()
                for row in running.nonzero()[:, 0].tolist():
                    on_token(row, finished_text(self.decode(ids[row])))
            running = running & ~torch.isin(chosen, ends)
            if not bool(running.any()):
                break
            embeds = self.net.get_input_embeddings()(steps[-1])[:, None]
            mask = torch.cat([mask, mask.new_ones(rows, 1)], dim=1)
            places, extra = places[..., -1:] + 1, {}
        return self.generated(torch.stack(steps, dim=1), torch.stack(numbers, dim=1))

    def answer_ids(self, text: str) -> list[int]:
        """Token ids of an answer, end token included."""
        spoken = self.answer_start + text.lstrip()
        ids = self.tokenizer(spoken, add_special_tokens=False)["input_ids"]
        return [*ids, self.end_ids()[0]]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens left out, stripped."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def token_name(self, token: int) -> str:
        """What the vocabulary calls a token."""
        return str(self.tokenizer.convert_ids_to_tokens(token) or token)

    # -- rows -------------------------------------------------------------------------------------

    def prompt_ids(self, question: str) -> tuple[list[int], list[int]]:
        """Token ids before and after the image; the question is text, whatever it spells."""
        return self._text.around(question)

    @cached_property
    def _text(self) -> PromptText:
        tokenizer, whole = self.tokenizer, not self.spells_bos
        return PromptText(
            self._prompt,
            encode=lambda text: tokenizer(text, add_special_tokens=whole)["input_ids"],
            spec=lambda: tokenizer.backend_tokenizer.to_str(),
            control=control_tokens(
                tokenizer.added_tokens_decoder,
                self.image_id,
                tokenizer.convert_ids_to_tokens(self.image_id),
            ),
            image_id=self.image_id,
            add_special_tokens=whole,
        )

    def check_question(self, question: str, max_new_tokens: int) -> None:
        """See `MultimodalModel.check_question`."""
        before, after = self.prompt_ids(question)
        check_length(
            len(before) + self._layout.span + len(after),
            num_own=len(self._text.words.places(0, len(after))),
            longest=int(self.net.config.get_text_config().max_position_embeddings) - max_new_tokens,
        )

    @property
    def spells_bos(self) -> bool:
        """Whether the prompt itself writes the token that begins a text."""
        bos = self.tokenizer.bos_token
        return bos is not None and self._prompt.startswith(bos)

    @cached_property
    def answer_start(self) -> str:
        """A space where a model would write one: after a prompt that ends in a word or a colon.

        Tokenizers that put a space before every text do so by themselves.
        """
        last = self.prompt_ids("?")[1][-1:]
        marked = not last or last[0] in self.tokenizer.all_special_ids
        spaced = self._prompt[-1:].isspace() or self._prompt.endswith("{question}")
        first = self.tokenizer.tokenize("a")[:1]
        return "" if marked or spaced or (first and first[0].startswith("▁")) else " "

    def _row(self, question: str, kept: Tensor, answer: list[int]) -> _Row:
        before, after = self.prompt_ids(question)
        after = after + answer
        layout = self._layout
        places = self._place_of[kept]
        # Places in reading order: text, separators and kept tokens.
        stays = layout.visual < 0
        stays[places] = True
        new_place = stays.cumsum(0) - 1
        start = len(before)
        axes = layout.positions.shape[0]
        first = torch.arange(start).expand(axes, -1)
        last = start + layout.span + torch.arange(len(after)).expand(axes, -1)
        holds = torch.full((start + int(stays.sum()) + len(after),), TEXT_PLACE)
        holds[start : len(holds) - len(after)] = SEPARATOR_PLACE
        holds[start + new_place[places]] = kept
        return _Row(
            ids=torch.cat([torch.tensor(before).long(), layout.ids[stays], torch.tensor(after)]),
            positions=torch.cat([first, start + layout.positions[:, stays], last], dim=1),
            visual=start + new_place[places],
            learned=start + new_place[layout.visual == LEARNED],
            answer=len(answer),
            holds=holds,
            words=self._text.words.places(len(holds) - len(after), len(holds) - len(answer)),
        )

    def _separated(self, embeds: Tensor, rows: Sequence[_Row], width: int | None) -> Tensor:
        """`embeds` with the learned separator where the rows have one; left-padded to `width`."""
        if not len(rows[0].learned):
            return embeds
        marks = torch.zeros(embeds.shape[:2], dtype=torch.bool)
        for number, row in enumerate(rows):
            marks[number, row.learned + (0 if width is None else width - len(row.ids))] = True
        separator = self.learned().to(embeds.device, embeds.dtype)
        return torch.where(marks.to(embeds.device)[:, :, None], separator, embeds)

    # -- text -------------------------------------------------------------------------------------

    def head(self, hidden: Tensor) -> Tensor:
        """(..., D) last hidden states after the final norm -> (..., vocabulary) float32 logits."""
        return self.net.get_output_embeddings()(hidden).float()

    def generated(self, steps: Tensor, numbers: Tensor) -> Generated:
        """Answers of tokens (B, n) and their `step_scores` (B, n, 3), all cut at the end token."""
        ends = set(self.end_ids())
        rows = []
        for line in steps.tolist():
            length = next((n for n, token in enumerate(line, 1) if token in ends), len(line))
            rows.append(line[:length])
        scores = numbers.cpu().numpy().astype(np.float32)  # (B, n, 3)
        return Generated(
            tokens=rows,
            texts=[self.decode(row) for row in rows],
            top1=scores[:, :, 0],
            margin=scores[:, :, 1],
            entropy=scores[:, :, 2],
            lengths=np.asarray([len(row) for row in rows], dtype=np.int64),
            ended=np.asarray([row[-1] in ends for row in rows], dtype=np.bool_),
        )

    def end_ids(self) -> list[int]:
        """Tokens that end an answer; the first is the one our own answers end with."""
        own = self.tokenizer.eos_token_id
        known = self.net.generation_config.eos_token_id
        listed = known if isinstance(known, list) else [known]
        ends = [int(end) for end in [own, *listed] if end is not None]
        if not ends:
            raise PairError("neither tokenizer nor generation config names an end token")
        return list(dict.fromkeys(ends))

    def pad_id(self) -> int:
        """What rows are filled up with."""
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.end_ids()[0])


def _checked_prompt(prompt: str) -> str:
    before, found, after = prompt.partition(IMAGE)
    if not found or IMAGE in after or "{question}" in before or after.count("{question}") != 1:
        raise PairError(f"a prompt holds {IMAGE} once and then {{question}} once, not {prompt!r}")
    return prompt


def _dtype(name: str | None, device: torch.device) -> torch.dtype:
    """float32 on a CPU whatever the pair says: bfloat16 is slow there, and rounds."""
    if device.type == "cpu" or name == "float32":
        return torch.float32
    return torch.float16 if name == "float16" else torch.bfloat16
