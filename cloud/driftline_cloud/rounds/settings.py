"""How the rounds of a line are made."""

from __future__ import annotations

from driftline_cloud.distill.checkpoints.kept import EVERY_S
from driftline_cloud.rounds.round import RetryLimits
from driftline_cloud.rounds.shares import Shares
from driftline_cloud.rounds.trigger import TriggerPolicy
from driftline_shared.program.section import Section, setting


class RoundSettings(Section):
    """What a round takes and keeps, and when one starts."""

    seed: int = setting(0, "of all rounds")
    trigger: TriggerPolicy = TriggerPolicy()
    # At least 2: one to learn from, one to judge by.
    most_samples: int = setting(2_048, "of one round", ge=2)
    holdout_share: float = setting(
        0.15, "of a round's samples: judged by, not learnt from", gt=0, lt=1
    )
    device_share: float = setting(
        0.1,
        "of what a round learns from and is judged by: most that one device gives; of n devices "
        "that sent within two days never below 3 / n, and what is more waits; 1: no limit",
        gt=0,
        le=1,
    )
    rehearsal_samples: int = setting(256, "older samples mixed into training")
    recall_samples: int = setting(64, "older held-out samples the gate looks at")
    gate_questions: int = setting(
        5, "further questions the gate puts to each held-out sample", ge=0, le=100
    )
    label_chunk_samples: int = setting(
        4_096, "their batches are planned, and shared out, together; each is kept as it comes"
    )
    checkpoint_s: float = setting(
        EVERY_S, "of training, then its state is kept: what a lost worker costs at most", gt=0
    )
    keep_used_samples: int = setting(20_000, "older ones lose their bytes, not their ids")
    keep_folders: int = setting(5, "work folders of past rounds")
    fit_p_ik: bool = setting(
        False, "each version comes with a P(IK) head for the gate score p_ik, some hundred bytes"
    )
    retry: RetryLimits = RetryLimits()
    poll_s: float = setting(0.5, "how often the trigger is looked at")

    def shares(self, *, now_unix_s: int) -> Shares:
        """What a round that starts now takes of each device."""
        return Shares(
            most_samples=self.most_samples,
            device_share=self.device_share,
            holdout_share=self.holdout_share,
            now_unix_s=now_unix_s,
        )


class WorkSettings(Section):
    """Who drives the rounds. Times in seconds."""

    beside: bool = setting(
        True, "`serve` starts `work` beside itself, as a process of its own; else that is yours"
    )
    lease_s: float = setting(
        15.0, "after so long without a word from the worker of a line, another one goes on", ge=1
    )
    restart_s: float = setting(
        1.0, "before a worker's process that ended is started again; doubles", gt=0
    )
    most_restart_s: float = setting(60.0, "most of it", gt=0)
    max_lines_at_once: int = setting(
        4,
        "lines with a working process on a machine, each with models of its own; further ones take "
        "turns, a round each; 0: all",
        ge=0,
    )
    turn_s: float = setting(
        3600.0, "after so long in one round a line makes room for one that waits", gt=0
    )
