"""How much memory each side of a pair takes, from shapes alone: estimates, meant to be generous.

Device: weights (tower, projector, embeddings and head stay in floating point), two adapter slots,
the KV cache of a batch, activations of the largest layer, the visual tokens. Cloud: the teacher,
the student's twin in floating point, the adapter with its gradient and Adam's two moments, the
activations that a training step keeps, the teacher's outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

from driftline_shared.models.check.inspection import Inspection
from driftline_shared.pair.spec import Dtype, Quantization

Plan = dict[str, int]
"""Bytes by what they are for."""

Precision = str
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8", "nf4")

ADAPTER_BYTES = 16
"""Bytes of a trained value: itself, gradient, and Adam's two moments, float32."""

LAYER_STATES = 10
"""Activations of width D that a training step keeps for each layer: what attention, norms and
residuals need again on the way back."""

NF4_BLOCK = 64
"""Weights that share a float32 scale."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """How many rows are worked on at once; the defaults are those of the settings.

    `prompt_tokens`: text around the image and question. `token_share`: of visual tokens that come
    up. `cache_bytes`: most of the teacher's outputs that are kept.
    """

    device_batch: int = 8
    label_batch: int = 64
    train_batch: int = 28
    memory_batch: int = 32
    prompt_tokens: int = 96
    token_share: float = 0.5
    cache_bytes: int = 2 << 30


def precision_of(quantization: Quantization, dtype: Dtype | None) -> Precision:
    """The row of the table that a setting stands for: without quantization, float32 or half."""
    if quantization != "none":
        return quantization
    return "float32" if dtype in (None, "float32") else "bfloat16"


def weight_bytes(model: Inspection, precision: Precision, float_bytes: int = 4) -> int:
    """Bytes of all weights; `float_bytes` a value that quantization leaves alone."""
    language = model.language
    if precision in ("float32", "bfloat16"):
        return model.num_parameters * (4 if precision == "float32" else 2)
    left = (model.num_parameters - language.quantized) * float_bytes
    if precision == "int8":
        return left + language.quantized + 4 * language.quantized_rows
    return left + language.quantized // 2 + 4 * language.quantized // NF4_BLOCK


def device_plan(
    student: Inspection,
    num_tokens: int,
    max_new_tokens: int,
    precision: Precision,
    work: Workload,
    *,
    float_bytes: int = 4,
) -> Plan:
    """The device at `precision`; `num_tokens` visual tokens an image."""
    places = num_tokens + work.prompt_tokens + max_new_tokens
    width = 2 if precision == "bfloat16" else float_bytes
    return {
        "weights": weight_bytes(student, precision, float_bytes),
        "adapter": 2 * 4 * student.adapter.num_parameters,
        "kv_cache": _kv_bytes(student, places, work.device_batch, width),
        "activations": _pass_bytes(student, places, work.device_batch, width)
        + 4 * places * student.language.rows,
        "visual_tokens": 4 * work.device_batch * num_tokens * student.token_width,
    }


def cloud_plan(
    teacher: Inspection,
    student: Inspection,
    num_tokens: int,
    max_new_tokens: int,
    precision: Precision,
    work: Workload,
) -> Plan:
    """The cloud with the teacher at `precision`."""
    kept = max(1, round(num_tokens * work.token_share))
    places = kept + work.prompt_tokens + max_new_tokens
    rows = work.train_batch + work.memory_batch
    language = student.language
    layer = LAYER_STATES * language.width + 3 * language.inner_width
    width = 4 if precision == "float32" else 2
    return {
        "teacher": weight_bytes(teacher, precision, float_bytes=2),
        "teacher_kv_cache": _kv_bytes(teacher, places, work.label_batch, width),
        "teacher_activations": _pass_bytes(teacher, places, work.label_batch, width),
        "teacher_outputs": work.cache_bytes,
        "student_twin": 4 * student.num_parameters,
        "adapter_and_adam": ADAPTER_BYTES * student.adapter.num_parameters,
        "training_activations": 4 * rows * places * language.num_layers * layer,
        "training_logits": 3 * 4 * rows * max_new_tokens * language.rows,
    }


def _kv_bytes(model: Inspection, places: int, batch: int, width: int) -> int:
    language = model.language
    return 2 * language.num_layers * language.kv_width * places * batch * width


def _pass_bytes(model: Inspection, places: int, batch: int, width: int) -> int:
    """One layer at a time: hidden states, attention's parts, the inner layer."""
    language = model.language
    return batch * places * (6 * language.width + 2 * language.inner_width) * width
