"""The settings of one distillation, read from `DistillJob.settings`; needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import model_validator

from driftline_shared.errors import ConfigError
from driftline_shared.program.compressor import CompressorSettings
from driftline_shared.program.section import read_section, setting


class DistilSettings(CompressorSettings):
    """Every constant of algorithms.md, section 2. The defaults were tuned on `tiny`."""

    a1: float = setting(1.0, "loss weight of the pseudo-label; 0: off", ge=0, le=1e3)
    a2: float = setting(1.0, "of the answer distribution at `temperature`; 0: off", ge=0, le=1e3)
    a3: float = setting(0.03, "of projected tokens; 0: off", ge=0, le=1e3)
    a4: float = setting(0.03, "of hidden states of the answer; 0: off", ge=0, le=1e3)
    a5: float = setting(
        2.0,
        "of the term against forgetting; 0: off; not set: the pair's, if it names one",
        ge=0,
        le=1e3,
    )
    temperature: float = setting(2.0, "of the distributions that are compared", ge=0.1, le=100)
    passes: float = setting(
        20.0, "over the samples, within `min_steps` and `max_steps`", ge=0, le=1e4
    )
    min_steps: int = setting(
        40, "fewest optimizer steps; not set: `max_steps`, if that is fewer", ge=1, le=1_000_000
    )
    max_steps: int = setting(
        130,
        "most optimizer steps; not set: the pair's, if it names one, or `min_steps`, if that is "
        "more",
        ge=1,
        le=1_000_000,
    )
    batch_size: int = setting(28, "samples of one step", ge=1, le=4096)
    memory_batch_size: int = setting(
        32, "rows of rehearsal and source in one step, half each", ge=0, le=4096
    )
    learning_rate: float = setting(
        2.5e-3,
        "after a linear warm-up; then a cosine down to `final_share` of it; not set: the pair's, "
        "if it names one",
        ge=0,
        le=1,
    )
    alignment_learning_rate: float = setting(
        1e-3, "of the maps between teacher and student", ge=0, le=1
    )
    warmup_share: float = setting(0.1, "of the steps", ge=0, le=1)
    final_share: float = setting(0.3, "of the learning rate, at the end", ge=0, le=1)
    averaged_share: float = setting(
        0.4,
        "of the steps, the last, after `dense_share`: the candidate is the mean of its weights",
        ge=0,
        le=1,
    )
    gradient_clip: float = setting(1.0, "most norm of a gradient", ge=1e-6, le=1e6)
    weight_decay: float = setting(0.0, "of the optimizer", ge=0, le=1)
    confidence_floor: float = setting(
        0.5, "labels the teacher was less sure of are dropped", ge=0, le=1
    )
    trust_owners: bool = setting(
        True, "what a device's owner says is right is the label, not what the teacher says"
    )
    extra_questions: int = setting(
        2,
        "of each sample that are learnt beside its own: the hardest of `asked_questions`; not "
        "set: the pair's, if it names one",
        ge=0,
        le=100,
    )
    asked_questions: int = setting(
        10,
        "put to the teacher about each sample, those of others; never below `extra_questions`",
        ge=0,
        le=100,
    )
    trained_share: float = setting(
        0.15,
        "of the weights: the most important that train on; 1: all; not set: the pair's, if it "
        "names one",
        ge=1e-6,
        le=1,
    )
    dense_share: float = setting(0.5, "of the steps in which all weights train", ge=0, le=1)
    num_source_rows: int = setting(
        800,
        "rows of the source calibration set in memory; not set: the pair's, if it names one",
        ge=0,
        le=1_000_000,
    )
    full_token_share: float = setting(
        0.25, "of them keep all tokens, the others as many as the samples do", ge=0, le=1
    )
    gate_source_rows: int = setting(384, "source rows that the gate looks at", ge=0, le=1_000_000)
    label_batch_size: int = setting(64, "samples that the teacher answers at once", ge=1, le=4096)
    threads: int = setting(2, "of torch; part of a job because sums depend on them", ge=1, le=1024)
    cache_bytes: int = setting(
        2 << 30,
        "most memory for teacher outputs; what does not fit is computed again when needed",
        ge=0,
        le=1 << 50,
    )

    @model_validator(mode="before")
    @classmethod
    def _few_steps(cls, values: Any) -> Any:
        """Fewer steps than `min_steps` is by default, where nobody set that: it goes along."""
        if isinstance(values, Mapping) and "min_steps" not in values:
            most = str(values.get("max_steps", ""))  # the environment has texts
            if most.isdecimal() and 1 <= int(most) < cls.model_fields["min_steps"].default:
                return {**values, "min_steps": int(most)}
        return values

    @model_validator(mode="after")
    def _rising(self) -> DistilSettings:
        if "max_steps" in self.model_fields_set and self.max_steps < self.min_steps:
            raise ValueError(f"max_steps is {self.max_steps}, below min_steps, {self.min_steps}")
        return self

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> DistilSettings:
        """Settings from a job. Raises ConfigError for an unknown key or a wrong value."""
        return read_section(cls, values, "distil")

    def to_mapping(self) -> dict[str, object]:
        """What `from_mapping` reads: what was set. What was not is the pair's, see `of_pair`."""
        return self.model_dump(exclude_unset=True)

    def of_pair(self, named: Mapping[str, object]) -> DistilSettings:
        """With what a pair names where nobody set these. Raises ConfigError where the two do not go
        together, saying which are the pair's.
        """
        theirs = self.named_by(named)
        try:
            found = self.from_mapping({**theirs, **self.to_mapping()})
        except ConfigError as error:
            if not theirs:
                raise
            told = ", ".join(f"{key} = {value}" for key, value in theirs.items())
            raise ConfigError(
                f"{error}; of these the pair names {told}",
                fix="Set distil." + ", distil.".join(theirs) + " as you want them, which counts "
                "before the pair's, or change [distillation] in its pair.toml.",
            ) from error
        if found.max_steps < found.min_steps:  # set by neither, the most goes along
            found = found.model_copy(update={"max_steps": found.min_steps})
        return found

    def named_by(self, named: Mapping[str, object]) -> dict[str, object]:
        """Of what a pair names, the part that nobody set here."""
        own = self.to_mapping()
        return {key: value for key, value in named.items() if key not in own}

    def num_steps(self, num_samples: int) -> int:
        """Optimizer steps for a round of that many samples; 0 without samples."""
        if num_samples == 0:
            return 0
        wanted = math.ceil(self.passes * num_samples / self.batch_size)
        return max(min(wanted, self.max_steps), self.min_steps)
