"""What counts as a sample that a round should not learn from."""

from __future__ import annotations

from driftline_shared.program.section import Section, setting


class ScreenSettings(Section):
    """Each rule has its own limit; 0 turns that rule off."""

    enabled: bool = setting(True, "samples that look made to mislead are set apart before training")
    least_devices: int = setting(
        3, "in a round: of fewer nothing is set apart, for there is nobody to compare with", ge=2
    )
    outlier_ratio: float = setting(
        20.0,
        "tokens farther from the source's than so many times the median device's are outliers; 0: "
        "none",
        ge=0,
    )
    lone_error_rate: float = setting(
        1e-3,
        "how often answers of honest devices are taken for a lone device's, a round; 0: none is "
        "looked for",
        ge=0,
        lt=1,
    )
    copy_distance: float = setting(
        0.02,
        "samples of one device under one question whose tokens differ by less are copies, the "
        "oldest stays; unlike pictures differ by 1; 0: none",
        ge=0,
        lt=1,
    )
    dispute_confidence: float = setting(
        0.9,
        "an owner's answer is not learnt where the teacher is so sure of another one; 0: always",
        ge=0,
        le=1,
    )
