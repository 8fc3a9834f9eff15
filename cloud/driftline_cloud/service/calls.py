"""What a device asks of its cloud, without gRPC: servicers convert, these answer. They block."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from driftline_cloud.intake.devices import Device
from driftline_cloud.rollout.offers import first_of
from driftline_cloud.rollout.store import Reach
from driftline_cloud.service.cloud import Cloud
from driftline_cloud.signing.signing import Signing
from driftline_shared.errors import LinkError, Reason
from driftline_shared.status import (
    PROTOCOL,
    Enrolment,
    UpdateOutcome,
    UpdateQuery,
    UpdateReport,
    Welcome,
)
from driftline_shared.update import Manifest

_KNOWN_REASONS = frozenset(Reason)

_UNKNOWN_BASE = frozenset({Reason.BASE_MODEL_UNKNOWN, Reason.TOKEN_SPACE_UNKNOWN})
"""No line is for such a device, and the operator may add one."""

_log = structlog.get_logger(__name__)


def enrol(cloud: Cloud, enrolment: Enrolment) -> Welcome:
    """Know the device from now on; `LinkError` for one that this cloud could not help."""
    if enrolment.protocol != PROTOCOL:
        raise LinkError(
            f"the device speaks protocol {enrolment.protocol}, this cloud {PROTOCOL}",
            reason=Reason.PROTOCOL_MISMATCH,
        )
    now_s = int(cloud.clock.now_s())
    try:
        was_on = cloud.devices.line_of(enrolment.device_id)
        served = cloud.lines.route(enrolment, was_on)
    except LinkError as error:
        cloud.metrics.count_turned_away(str(error.reason))
        if error.reason in _UNKNOWN_BASE:
            cloud.unknown.note(enrolment, now_unix_s=now_s)
        raise
    cloud.devices.enrol(enrolment, served.id, was_on=was_on, now_unix_s=now_s)
    _log.info(
        "device.enrolled",
        device=enrolment.device_id,
        line=served.id,
        version=enrolment.adapter_version,
    )
    return Welcome(
        cloud_id=cloud.cloud_id,
        policy=served.policy,
        newest_version=cloud.registry.newest_version(served.id),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class LineView:
    """What decides whether there is something new for the devices of a line."""

    newest: int
    reach: Reach


def look(cloud: Cloud, line: str) -> LineView:
    """A line as it is now."""
    newest = cloud.registry.newest_version(line)
    return LineView(newest=newest, reach=cloud.offers.reach(line, newest))


def has_nothing_new(cloud: Cloud, device: Device, query: UpdateQuery, view: LineView) -> bool:
    """Whether `check_update` gives None by this `view`; then the device is noted as it would note
    it. False: it may be. Never waits, for a fleet asks so all the time.
    """
    held = query.adapter_version
    if query.base_model != device.base_model or held > view.newest:
        return False
    failed = query.failed_versions
    if first_of(view.reach, device.device_id, held=held, failed=failed) is not None:
        return False
    cloud.devices.note(device, now_unix_s=int(cloud.clock.now_s()), adapter_version=held)
    return True


def sign_what_is_new(cloud: Cloud) -> None:
    """Sign versions that a worker has published, and again what is about to end; lines that were
    dropped are signed no more.
    """
    if cloud.signing is None:
        return
    cloud.signing.step()
    for row in cloud.lines.dropped():
        cloud.signing.withdraw(row.id)
    for line in cloud.lines.all():
        _sign(cloud, cloud.signing, line.id, cloud.registry.newest_version(line.id))


def _sign(cloud: Cloud, signing: Signing, line: str, newest: int) -> None:
    settled = cloud.offers.reach(line, newest).settled if newest else 0
    signing.ensure(line, newest=newest, settled=settled)


def signed_for(cloud: Cloud, query: UpdateQuery, line: str) -> tuple[bytes, int]:
    """(what the device lacks of the signed metadata, its size decompressed); empty: nothing."""
    if cloud.signing is None or query.signed is None:
        return b"", 0
    return cloud.signing.packed(line, query.signed)


def check_update(cloud: Cloud, query: UpdateQuery) -> Manifest | None:
    """The manifest of the update for this device; None if there is nothing for it. With signing,
    none that is not signed.
    """
    device = cloud.known_device(query.device_id)
    if query.base_model != device.base_model:
        raise LinkError(
            f"the device enrolled with base model {device.base_model[:12]}, "
            f"it asks for {query.base_model[:12]}",
            reason=Reason.BASE_MODEL_UNKNOWN,
        )
    now_s = int(cloud.clock.now_s())
    newest = cloud.registry.newest_version(device.line)
    is_real = _is_real(device, query.adapter_version, newest)
    cloud.devices.seen(
        query.device_id,
        now_unix_s=now_s,
        adapter_version=query.adapter_version if is_real else None,
    )
    target = cloud.offers.version_for(
        device.line,
        query.device_id,
        newest=newest,
        held=query.adapter_version,
        failed=query.failed_versions,
    )
    if target is None:
        return None
    if cloud.signing is not None:
        _sign(cloud, cloud.signing, device.line, newest)
        if query.signed is not None and not cloud.signing.is_signed(device.line, target):
            return None
    return cloud.registry.offer(
        device.line,
        query.adapter_version,
        full_reason=_why_full(cloud, device, query),
        manifest_format=query.manifest_format,
        target=target,
    )


def _why_full(cloud: Cloud, device: Device, query: UpdateQuery) -> str:
    """A device whose base is not what its version says needs every tensor once."""
    last = device.last_report
    refused = last.endswith(f": {Reason.BASE_MISMATCH}") and not last.startswith(
        str(UpdateOutcome.APPLIED)
    )
    return str(Reason.BASE_MISMATCH) if refused and cloud.devices.has_grant(query.device_id) else ""


def _is_real(device: Device, version: int, newest: int) -> bool:
    """Whether the line, whose newest is `newest`, has such a version; says so where it has not."""
    if version <= newest:
        return True
    _log.warning("device.version_unknown", device=device.device_id, version=version, newest=newest)
    return False


def take_report(cloud: Cloud, device_id: str, report: UpdateReport) -> None:
    """Keep how an update ended. One to a version that the line never had is not kept, and said."""
    device = cloud.known_device(device_id)
    if not _is_real(device, report.version, cloud.registry.newest_version(device.line)):
        cloud.metrics.count_report(report, device.line, known_reason=False)
        return
    now_s = int(cloud.clock.now_s())
    if report.reason == Reason.BASE_MISMATCH and not cloud.devices.grant_full(
        device_id, now_unix_s=now_s
    ):
        _log.warning("update.full_not_granted", device=device_id, version=report.version)
    applied = report.outcome is UpdateOutcome.APPLIED
    cloud.devices.add_report(
        device,
        report,
        adapter_version=report.version if applied else device.adapter_version,
        now_unix_s=now_s,
    )
    cloud.metrics.count_report(report, device.line, report.reason in _KNOWN_REASONS)
    _log.info(
        "update.reported",
        device=device_id,
        version=report.version,
        outcome=str(report.outcome),
        reason=report.reason,
    )
