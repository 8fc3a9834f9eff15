"""One question through one model, timed: pixels, tower tokens, first token, the ones after it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from driftline_lab.bench.compression.downsampled import DownsampledModel
from driftline_lab.bench.compression.subjects import Asked
from driftline_shared.callbacks import OnToken
from driftline_shared.models.compression.compressed_model import CompressedModel
from driftline_shared.models.compression.compressor import LayerCount
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.multimodal import Generated, LmBatch


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What came of it. Seconds: `encode_s` to the tower's tokens, None where the method got in
    before they were there; `ready_s` to the row of embeddings, both from pixels on; `read_s` from
    there to the first token; `token_s` a further token, None where there was none.

    `layers`: counts as they were run; None of the uncompressed model. `prefix`: places of a first
    pass. `places`: of the row as it was made, `visual` among them.
    """

    text: str
    encode_s: float | None
    ready_s: float
    read_s: float
    token_s: float | None
    layers: tuple[LayerCount, ...] | None
    prefix: int
    places: int
    visual: int

    def first_s(self, encode_s: float) -> float:
        """From tower tokens to the first token; `encode_s`: what plain encoding takes, where this
        method has no step of its own for it.
        """
        return (
            self.ready_s + self.read_s - (self.encode_s if self.encode_s is not None else encode_s)
        )


@torch.no_grad()
def read(model: FamilyModel | CompressedModel, asked: Asked, max_new_tokens: int) -> Reading:
    """Answer one question from its pixels."""
    start = time.perf_counter()
    batch, encoded = _batch(model, asked)
    ready = time.perf_counter()
    times: list[float] = []

    def on_token(_row: int, _text: str) -> None:
        times.append(time.perf_counter())

    said, layers, prefix = _answered(model, batch, max_new_tokens, on_token)
    assert batch.holds is not None, "families say what places hold"
    return Reading(
        text=said.texts[0],
        encode_s=None if encoded is None else encoded - start,
        ready_s=ready - start,
        read_s=times[0] - ready,
        token_s=(times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else None,
        layers=layers,
        prefix=prefix,
        places=int(batch.attention_mask.sum()),
        visual=int((batch.holds >= 0).sum()),
    )


def _batch(model: FamilyModel | CompressedModel, asked: Asked) -> tuple[LmBatch, float | None]:
    """The row of embeddings, and when the tower's tokens were there."""
    if isinstance(model, DownsampledModel):
        small = model.read(asked.image)
        encoded = time.perf_counter()
        return model.rows([small], [asked.question]), encoded
    if isinstance(model, CompressedModel) and model.looks:
        return model.look([asked.image], [asked.question]).batch, None
    tokens = model.encode([asked.image])
    encoded = time.perf_counter()
    everywhere = torch.arange(tokens.shape[1])[None]
    return model.batch(model.project(tokens), everywhere, [asked.question]), encoded


def _answered(
    model: FamilyModel | CompressedModel,
    batch: LmBatch,
    max_new_tokens: int,
    on_token: OnToken,
) -> tuple[Generated, tuple[LayerCount, ...] | None, int]:
    if not isinstance(model, CompressedModel):
        return model.generate(batch, max_new_tokens, on_token), None, 0
    done = model.compressed_generate(batch, max_new_tokens, on_token)
    report = done.rows[0]
    return done.generated, report.layers, report.prefix[0].queries if report.prefix else 0
