"""Whether this cloud signs its updates: its keys decide, when it starts."""

from __future__ import annotations

import structlog

from driftline_cloud.config import CloudConfig
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.signing.files import SigningFiles, has_signing
from driftline_cloud.signing.signing import Signing
from driftline_shared.host.clock import Clock

_log = structlog.get_logger(__name__)


def open_signing(config: CloudConfig, registry: ReleaseRegistry, clock: Clock) -> Signing | None:
    """Of the cloud's keys for updates; None where `driftline cloud init` made none."""
    if not has_signing(config.state):
        return None
    here = SigningFiles(config.state).root_keys_here()
    if here:
        _log.warning(
            "signing.root_keys_are_here",
            paths=[str(path) for path in here],
            fix="Move them to three places that are offline: two of them can sign for this cloud.",
        )
    return Signing(
        config.state,
        registry,
        now_s=clock.now_s,
        timestamp_days=config.trust.timestamp_hours / 24,
    )
