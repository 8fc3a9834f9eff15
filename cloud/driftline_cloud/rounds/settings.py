"""How the rounds of a line are made."""

from __future__ import annotations

from dataclasses import dataclass, field

from driftline_cloud.rounds.round import RetryLimits
from driftline_cloud.rounds.trigger import TriggerPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundSettings:
    """Shares are 0..1.

    `most_samples`: most waiting samples one round takes. `rehearsal_samples`: older samples that
    training mixes in; `recall_samples`: older held-out samples that the gate looks at.
    `label_chunk_samples`: labels are kept after so many, so that a restart loses little.
    `keep_used_samples`: older ones lose their bytes. `keep_folders`: work folders of past rounds.
    """

    seed: int = 0
    trigger: TriggerPolicy = field(default_factory=TriggerPolicy)
    most_samples: int = 2_048
    holdout_share: float = 0.15
    rehearsal_samples: int = 256
    recall_samples: int = 128
    label_chunk_samples: int = 256
    keep_used_samples: int = 20_000
    keep_folders: int = 5
    retry: RetryLimits = field(default_factory=RetryLimits)
    poll_s: float = 0.5
