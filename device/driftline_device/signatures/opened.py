"""Whether a device's updates must be signed, and by whom: decided once, when it starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from driftline_device.signatures.folder import enrolled_root
from driftline_shared.errors import ConfigError
from driftline_shared.pair.pair import Pair
from driftline_shared.pair.update_root import pair_root

if TYPE_CHECKING:
    from driftline_device.signatures.trusted import TrustedUpdates


def open_signatures(
    state: Path, pair: Pair, *, base_model: str, now_s: Callable[[], float]
) -> TrustedUpdates | None:
    """What believes updates; None on a device that was given no root, which takes unsigned ones.

    The pair's own root has the say: it came with the weights. The cloud's that came with the
    certificate is begun from where the pair has none. ConfigError where a root cannot be read.
    """
    try:
        root = pair_root(pair.dir) or enrolled_root(state)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the root that vouches for updates cannot be read: {error}",
            fix="Bring the file back, or enrol the device anew with `driftline device enrol`.",
        ) from error
    if root is None:
        return None
    from driftline_device.signatures.trusted import TrustedUpdates

    return TrustedUpdates(state, root, base_model=base_model, now_s=now_s)
