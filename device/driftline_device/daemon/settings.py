"""Settings of the daemon: how it reads, waits and reports, and those of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ModelWrapValidatorHandler, PrivateAttr, field_validator, model_validator

from driftline_device.escalation.settings import EscalationSettings
from driftline_device.sampling.budget_text import ByteBudget, parse_budget
from driftline_device.updates.settings import UpdateSettings
from driftline_shared.program.policy import Policy
from driftline_shared.program.section import setting
from driftline_shared.tokens import SamplingPolicy


class DaemonSettings(UpdateSettings, EscalationSettings):
    """What a running daemon reads. Times in seconds."""

    batch_size: int = setting(8, "questions answered at once", ge=1, le=256, live=True)
    pace: float = setting(0.0, "questions a second; 0: as fast as possible", ge=0, live=True)
    poll_s: float = setting(
        5.0,
        "how often an update is asked for; a cloud with a large fleet may say less often",
        gt=0,
        live=True,
    )
    status_s: float = setting(1.0, "how often `status.json` is written", gt=0, live=True)
    settle_s: float = setting(
        0.0, "most to wait for the cloud between sources; 0: do not wait", ge=0
    )
    settle_every: int = setting(0, "also wait after so many questions; 0: do not", ge=0, live=True)
    quiet_s: float = setting(
        2.0, "nothing must happen so long to count as settled", ge=0, live=True
    )
    step_questions: int = setting(
        0,
        "wait after so many questions until `driftline device step`, and take updates and policies "
        "only then; 0: do not",
        ge=0,
    )
    labels_may_leave: bool = setting(
        False,
        "the owner lets what they say is right leave this device, each with the sample that it is "
        "about; default: no",
        live=True,
    )
    budget: str = setting(
        "none",
        'most bytes to and from the cloud: `"2 MB/day"`, `"50 KB/hour"`, `"none"`; sets codec, '
        "token share, samples and polling together, see [budget](#budget)",
    )
    sampling: Policy = setting(SamplingPolicy(), "until the cloud gives a policy", live=True)

    _set_of_sampling: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def byte_budget(self) -> ByteBudget | None:
        """The budget; None: no limit."""
        return parse_budget(self.budget)

    @property
    def sampling_by_hand(self) -> dict[str, Any]:
        """What the owner set of `sampling`, by key: a budget leaves it as it is."""
        return {name: getattr(self.sampling, name) for name in sorted(self._set_of_sampling)}

    def with_hand_of(self, other: DaemonSettings) -> Self:
        """The same, with what counts as set by hand in `other`."""
        copy = self.model_copy()
        copy._set_of_sampling = other._set_of_sampling
        return copy

    @field_validator("budget", mode="before")
    @classmethod
    def _is_a_budget(cls, value: object) -> object:
        parse_budget(value)
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _note_what_is_set(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        settings = handler(values)
        given = values.get("sampling") if isinstance(values, Mapping) else None
        if isinstance(given, Mapping):
            settings._set_of_sampling = frozenset(given)
        return settings

    @model_validator(mode="after")
    def _one_way_to_wait(self) -> Self:
        if self.step_questions and (self.settle_every or self.settle_s):
            raise ValueError(
                "a device with step_questions waits at its steps: leave settle_every and settle_s "
                "at 0"
            )
        return self
