"""Which P(IK) head comes into force with an update."""

from __future__ import annotations

import structlog

from driftline_shared.errors import UpdateError
from driftline_shared.p_ik.head import IkHead, head_from_bytes
from driftline_shared.update import Manifest

_log = structlog.get_logger(__name__)


def head_of(manifest: Manifest, *, in_force: IkHead | None) -> IkHead | None:
    """The head that `manifest` brings; else, or where it cannot be used here, the one in force.

    A head says which answers are worth sending and never what is answered: one of a format to come,
    or none from a cloud of yesterday, must not keep better weights from a device.
    """
    if not manifest.ik_head:
        return in_force
    version = manifest.target_version
    try:
        head = head_from_bytes(manifest.ik_head)
    except UpdateError as error:
        _log.warning("update.ik_head_left_out", version=version, error=str(error))
        return in_force
    if head.version != version or (in_force is not None and head.width != in_force.width):
        _log.warning(
            "update.ik_head_left_out",
            version=version,
            error=f"it is of version {head.version} and {head.width} numbers",
        )
        return in_force
    return head
