"""Whether adapters a group pay: pure. What each group would be given is held against what all would
be given together, by the gate's own paired differences (`distill.gate.rule`), on each group's own
held-out samples. All groups' samples together must be likelier than `sure_of_gain` to have got
better by more than `least_gain`, and no group may be as likely to have lost: a group has few
held-out samples, so that one which gains a little often seems to lose a little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from driftline_cloud.distill.gate.rule import Difference
from driftline_cloud.grouping.settings import GroupingSettings
from driftline_cloud.jobs import Marks


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupMarks:
    """Held-out samples of one group: under what it would get alone, and with all others."""

    own: Marks
    shared: Marks


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupsVerdict:
    """Whether a line should be split, why in one sentence, and the numbers."""

    pays: bool
    reason: str
    numbers: dict[str, float]


def judge_groups(groups: Sequence[GroupMarks], settings: GroupingSettings) -> GroupsVerdict:
    """The verdict on one line's groups."""
    each = [Difference.of(group.own, group.shared) for group in groups]
    every = Difference.of(
        _joined([one.own for one in groups]), _joined([one.shared for one in groups])
    )
    sure = every.sure_above(settings.least_gain)
    numbers = {"gain": every.mean, "gain_error": every.error, "sure_of_gain": sure}
    numbers |= {f"gain_{number}": one.mean for number, one in enumerate(each)}
    losing = [
        number
        for number, one in enumerate(each)
        if 1.0 - one.sure_above(0.0) > settings.sure_of_gain
    ]
    said = f"{every.mean:+.3f} on held-out samples, better by {settings.least_gain:g} with "
    said += f"probability {sure:.3f}"
    if losing:
        return GroupsVerdict(
            pays=False, reason=f"{said}; group {losing[0]} would lose", numbers=numbers
        )
    if sure < settings.sure_of_gain:
        reason = f"{said}, {settings.sure_of_gain:.3f} is asked"
        return GroupsVerdict(pays=False, reason=reason, numbers=numbers)
    return GroupsVerdict(pays=True, reason=said, numbers=numbers)


def _joined(marks: Sequence[Marks]) -> Marks:
    return Marks(
        right=tuple(value for one in marks for value in one.right),
        probability=tuple(value for one in marks for value in one.probability),
    )
