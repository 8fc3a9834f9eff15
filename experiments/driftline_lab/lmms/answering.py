"""One model behind a compressor, and how it answers a context of lmms-eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from driftline_lab.bench.compression.control import do_nothing
from driftline_lab.bench.compression.subjects import load_subject
from driftline_lab.lmms.visuals import Pixels
from driftline_shared.errors import ConfigError, PairError
from driftline_shared.models.compression.compressed_model import CompressedModel
from driftline_shared.models.compression.loading import compressed
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.loading import load_model
from driftline_shared.pair.pair import Canvas
from driftline_shared.program.compressor import CompressorChoice

PLACEHOLDERS = ("<image>", "<video>")

MOST_TOKENS = 1024


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which model: a pair's name or folder, `tiny-video`, or a checkpoint's folder with `prompt`.

    `prompt` holds the image's placeholder once and then `{question}`. `canvas`: for checkpoints of
    LLaVA-OneVision. `dtype`, `device`: what a checkpoint computes in, and where.
    """

    name: str
    side: str = "teacher"
    prompt: str = ""
    canvas: Canvas | None = None
    device: str = "cpu"
    dtype: str | None = None


@dataclass(kw_only=True)
class Answerer:
    """Answers about one picture or clip, greedily, and counts visual tokens.

    `visual`: of each answer, tokens a layer computed on average.
    """

    model: CompressedModel
    max_new_tokens: int
    visual: list[float] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """Pictures of a clip; 1 for a model of pictures."""
        return self.model.grid.frames

    def answer(self, image: Pixels, context: str, options: Mapping[str, Any]) -> str:
        """The answer to `context`, cut before the first of `until`.

        `options`: lmms-eval's generation settings; `max_new_tokens` and `until` are followed, and
        answers are greedy whatever they say of sampling.
        """
        question = context
        for placeholder in PLACEHOLDERS:
            question = question.replace(placeholder, "")
        looked = self.model.look([image], [question.strip()])
        asked = int(options.get("max_new_tokens") or self.max_new_tokens)
        said = self.model.compressed_generate(looked.batch, max(1, min(asked, MOST_TOKENS)))
        assert looked.batch.holds is not None, "families say what places hold"
        others = int((looked.batch.holds < 0).sum()) - _padding(looked.batch)
        layers = said.rows[0].layers
        self.visual.append(float(np.mean([layer.keys - others for layer in layers])))
        return _cut(said.generated.texts[0], options.get("until"))


def load_answerer(choice: ModelChoice, compressor: str, options: Mapping[str, Any]) -> Answerer:
    """The chosen model behind `compressor` ("" for none) with its options.

    Raises ConfigError or PairError for a model or method that cannot run.
    """
    model, folder, most = _loaded(choice)
    if not compressor:
        return Answerer(model=do_nothing(model), max_new_tokens=most)
    method = CompressorChoice(name=compressor, options=dict(options))
    return Answerer(model=compressed(model, folder, method), max_new_tokens=most)


def share_of(tokens: int, num_tokens: int) -> float:
    """`keep` that leaves `tokens` of a model's `num_tokens`. Raises ConfigError outside 1..all."""
    if not 1 <= tokens <= num_tokens:
        raise ConfigError(f"tokens: {tokens}; this model has {num_tokens} visual tokens")
    return tokens / num_tokens


def parse_canvas(text: str) -> Canvas | None:
    """ "384x384", or with frames first "16x384x384". Raises ConfigError for what is neither."""
    if not text:
        return None
    sizes = text.lower().split("x")
    if len(sizes) not in (2, 3) or not all(size.isdecimal() and int(size) for size in sizes):
        raise ConfigError(f"canvas: {text!r}; write HEIGHTxWIDTH or FRAMESxHEIGHTxWIDTH")
    *frames, height, width = map(int, sizes)
    return Canvas(height=height, width=width, frames=frames[0] if frames else 1)


def _loaded(choice: ModelChoice) -> tuple[FamilyModel, Path, int]:
    if not choice.prompt:
        if choice.side not in ("teacher", "student"):
            raise ConfigError(f"side: {choice.side!r} is neither teacher nor student")
        side: Any = choice.side
        subject = load_subject(choice.name, side)
        return subject.model, subject.folder, subject.max_new_tokens
    if choice.prompt.count("{question}") != 1:
        raise ConfigError("prompt: it needs the image's placeholder and {question}, once each")
    folder = Path(choice.name)
    if not (folder / "config.json").is_file():
        raise ConfigError(f"model: {folder} holds no checkpoint (config.json)")
    model = load_model(
        folder,
        prompt=choice.prompt,
        device=choice.device,
        dtype=choice.dtype,
        canvas=choice.canvas,
    )
    if not isinstance(model, FamilyModel):
        raise PairError(f"{type(model).__name__} is no checkpoint of a family")
    return model, folder, 128


def _padding(batch: Any) -> int:
    return int((batch.attention_mask == 0).sum())


def _cut(text: str, until: Any) -> str:
    ends: Sequence[str] = [until] if isinstance(until, str) else until or []
    places = [place for end in ends if end and (place := text.find(end)) >= 0]
    return text[: min(places)].rstrip() if places else text
