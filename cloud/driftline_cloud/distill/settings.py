"""The settings of one distillation, read from `DistillJob.settings`; needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from driftline_shared.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class DistilSettings:
    """Every constant of algorithms.md, section 2. The defaults were tuned on `tiny`.

    Loss: `a1` pseudo-label, `a2` answer distribution at `temperature`, `a3` projected tokens,
    `a4` hidden states of the answer, `a5` against forgetting; 0 switches a term off (and what it
    costs). `extra_questions`: how often each sample's tokens are put to the teacher under another
    sample's question. After `dense_share` of the steps only the most important `trained_share` of
    the weights trains on (1: all). Length: `passes` over the samples, within `min_steps` and
    `max_steps`. One step reads `batch_size` samples and `memory_batch_size` rows of rehearsal and
    source. Rate: `learning_rate` after a linear warm-up over `warmup_share` of the steps, then a
    cosine down to `final_share` of it. `confidence_floor`: labels the teacher was less sure of
    are dropped.
    `num_source_rows`: rows of the source calibration set in memory; `full_token_share` of them
    keep all tokens, the others as many as the samples do. `threads`: torch threads, part of the
    job because sums depend on them. `cache_bytes`: most memory for teacher outputs; what does not
    fit is computed again when needed.
    `compressor`, `compressor_options`: what drops visual tokens on the devices, so that the student
    learns under it; empty for none. Teachers read all tokens.
    """

    a1: float = 1.0
    a2: float = 1.0
    a3: float = 0.03
    a4: float = 0.03
    a5: float = 2.0
    temperature: float = 2.0
    passes: float = 12.0
    min_steps: int = 40
    max_steps: int = 75
    batch_size: int = 28
    memory_batch_size: int = 24
    learning_rate: float = 2.5e-3
    alignment_learning_rate: float = 1e-3
    warmup_share: float = 0.1
    final_share: float = 0.05
    gradient_clip: float = 1.0
    weight_decay: float = 0.0
    confidence_floor: float = 0.5
    extra_questions: int = 2
    trained_share: float = 0.15
    dense_share: float = 0.5
    num_source_rows: int = 320
    full_token_share: float = 0.25
    gate_source_rows: int = 256
    label_batch_size: int = 64
    threads: int = 2
    cache_bytes: int = 2 << 30
    compressor: str = ""
    compressor_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"distil setting {name} is between {low} and {high}, not {value}")
        if self.max_steps < self.min_steps:
            raise ConfigError("distil setting max_steps is below min_steps")

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> DistilSettings:
        """Settings from a job. Raises ConfigError for an unknown key or a value of another type."""
        known = {field.name: type(field.default) for field in fields(cls)}
        unknown = sorted(values.keys() - known.keys())
        if unknown:
            raise ConfigError(f"unknown distil setting {unknown[0]!r}; known are {sorted(known)}")
        checked: dict[str, Any] = {
            n: _KINDS[n](n, values[n]) if n in _KINDS else _number(n, values[n], known[n])
            for n in values
        }
        return cls(**checked)

    def to_mapping(self) -> dict[str, object]:
        """What `from_mapping` reads."""
        return dict(asdict(self))

    def num_steps(self, num_samples: int) -> int:
        """Optimizer steps for a round of that many samples; 0 without samples."""
        if num_samples == 0:
            return 0
        wanted = math.ceil(self.passes * num_samples / self.batch_size)
        return min(max(wanted, self.min_steps), self.max_steps)


_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("a1", "a2", "a3", "a4", "a5"), (0.0, 1e3)),
    "temperature": (0.1, 100.0),
    "passes": (0.0, 1e4),
    "min_steps": (1, 1_000_000),
    "max_steps": (1, 1_000_000),
    "batch_size": (1, 4096),
    "memory_batch_size": (0, 4096),
    "learning_rate": (0.0, 1.0),
    "alignment_learning_rate": (0.0, 1.0),
    "warmup_share": (0.0, 1.0),
    "final_share": (0.0, 1.0),
    "gradient_clip": (1e-6, 1e6),
    "weight_decay": (0.0, 1.0),
    "confidence_floor": (0.0, 1.0),
    "extra_questions": (0, 100),
    "trained_share": (1e-6, 1.0),
    "dense_share": (0.0, 1.0),
    "num_source_rows": (0, 1_000_000),
    "full_token_share": (0.0, 1.0),
    "gate_source_rows": (0, 1_000_000),
    "label_batch_size": (1, 4096),
    "threads": (1, 1024),
    "cache_bytes": (0, 1 << 50),
}


def _number(name: str, value: object, kind: type) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"distil setting {name} is a number, not {value!r}")
    if kind is int:
        if value != int(value):
            raise ConfigError(f"distil setting {name} is a whole number, not {value!r}")
        return int(value)
    return float(value)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"distil setting {name} is a text, not {value!r}")
    return value


def _table(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"distil setting {name} is a table, not {value!r}")
    return dict(value)


_KINDS = {"compressor": _text, "compressor_options": _table}
"""Settings that are no numbers."""
