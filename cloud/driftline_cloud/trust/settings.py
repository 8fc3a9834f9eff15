"""How a cloud knows who calls it."""

from __future__ import annotations

from driftline_shared.program.section import Section, setting


class TrustSettings(Section):
    """Of a cloud with an authority; see `driftline cloud init`."""

    insecure: bool = setting(
        False, "let anybody call, without certificates, though there is an authority: loopback only"
    )
    timestamp_hours: float = setting(
        24.0,
        "that devices install updates without having heard from the cloud; it signs again after "
        "half of them",
        gt=0,
        le=8760,
    )
    certificate_days: float = setting(
        30.0, "that the certificate of a device or an operator holds", gt=0, le=3650
    )
