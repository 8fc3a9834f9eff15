"""When the cloud's teacher is asked for an answer, too."""

from __future__ import annotations

from typing import Literal

from driftline_shared.program.section import Section, setting


class EscalationSettings(Section):
    """Of a device with a cloud; without one it answers alone."""

    escalate: Literal["never", "uncertain"] = setting(
        "never",
        "`uncertain`: the samples of the most uncertain answers also ask for the teacher's answer, "
        "see [corrections](#corrections)",
    )
    escalate_share: float = setting(0.2, "most of the answers that do so", ge=0.0, le=1.0)
    escalate_quantile: float = setting(
        0.9,
        "and only those above this quantile of the pair's source calibration set, by the policy's "
        "gate score",
        ge=0.0,
        le=1.0,
    )
    escalate_wait_ms: int = setting(
        0,
        "most that a request to the local API waits for the teacher's answer, which it then gets "
        "instead; 0: it has the device's at once",
        ge=0,
        le=600_000,
        live=True,
    )
