"""When devices of a line get adapters of their own."""

from __future__ import annotations

from driftline_shared.program.section import Section, setting


class GroupingSettings(Section):
    """What counts as a group of devices, and how sure the gate must be that it pays."""

    enabled: bool = setting(
        False,
        "devices whose drift differs get a line of their own where that pays; off: the rule was "
        "tried on three seeds alone",
    )
    least_devices: int = setting(4, "of a group; of fewer nothing is made", ge=1)
    least_samples: int = setting(
        8, "of a device in a round, without which it is not compared with others", ge=2
    )
    most_groups: int = setting(4, "of one pair at one quantization, all in all", ge=1, le=64)
    error_rate: float = setting(
        0.01, "how often devices that do not differ are taken for groups", gt=0, le=0.5
    )
    least_silhouette: float = setting(
        0.5, "how clearly groups must be apart, -1 to 1, beside being no chance", ge=-1, le=1
    )
    sure_of_gain: float = setting(
        0.7, "probability that adapters a group are better, from which a line is split", gt=0, lt=1
    )
    least_gain: float = setting(
        0.01, "by so much, on the gate's held-out samples: a group costs work for ever", ge=0, le=1
    )
    again_rounds: int = setting(
        8, "rounds of a line before groups that did not pay are tried again", ge=1
    )
