"""Which line a device is on, by what it says of itself: a pure decision."""

from __future__ import annotations

from collections.abc import Sequence

from driftline_cloud.lines.book import DROPPED, KnownLine
from driftline_shared.errors import LinkError, Reason
from driftline_shared.status import Enrolment


def route(lines: Sequence[KnownLine], enrolment: Enrolment, known: str = "") -> KnownLine:
    """The line of the device's base model and token space; of several the one that it was on
    (`known`), if that is a group's, else the one of its pair's name, else the first that was added.
    A group is nobody's who did not belong to it.

    LinkError: `line_dropped` where the only such lines were dropped, `base_model_unknown` where
    there are others of its token space, `token_space_unknown` where there is none.
    """
    near = [row for row in lines if row.token_space == enrolment.token_space]
    fitting = [row for row in near if row.base_model == enrolment.base_model]
    served = [row for row in fitting if row.state != DROPPED]
    own = next((row for row in served if row.group and row.id == known), None)
    if own is not None:
        return own
    fitting = [row for row in fitting if not row.group]
    served = [row for row in served if not row.group]
    if served:
        return next((row for row in served if row.pair_name == enrolment.pair), served[0])
    if fitting:
        raise LinkError(f"line {fitting[0].id} was dropped", reason=Reason.LINE_DROPPED)
    near = [row for row in near if row.state != DROPPED]
    if near:
        raise LinkError(
            f"the device runs base model {enrolment.base_model[:12]}, this cloud adapts "
            f"{_some([row.base_model[:12] for row in near])}",
            reason=Reason.BASE_MODEL_UNKNOWN,
        )
    spaces = [f"{row.pair_name} {row.token_space[:12]}" for row in lines if row.state != DROPPED]
    raise LinkError(
        f"pair {enrolment.pair} has token space {enrolment.token_space[:12]}, the pairs of this "
        f"cloud have: {_some(spaces)}",
        reason=Reason.TOKEN_SPACE_UNKNOWN,
    )


def _some(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(list(dict.fromkeys(names))[:most])
    return shown or "none"
