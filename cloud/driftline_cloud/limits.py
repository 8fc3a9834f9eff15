"""How much of the serving process one caller may take: threads and calls."""

from __future__ import annotations

from driftline_shared.program.section import Section, setting


class PoolSettings(Section):
    """Threads for blocking work, by kind, and how many of them one caller may hold."""

    control: int = setting(4, "threads for enrolment, policy, Check, Report, status", ge=1, le=256)
    uplink: int = setting(4, "threads that check and store samples", ge=1, le=256)
    downlink: int = setting(4, "threads that read updates", ge=1, le=256)
    per_caller: int = setting(1, "of a pool's threads that one caller holds at once", ge=1, le=256)
    waiting_per_caller: int = setting(
        64, "calls of one caller that may wait for a thread; more are turned away", ge=1, le=65_536
    )


class RateSettings(Section):
    """Calls a second in the long run, and at once after a pause; 0 a second: no limit."""

    enrol_per_s: float = setting(
        200.0, "enrolments from one network address; a fleet behind one NAT shares it", ge=0
    )
    enrol_burst: int = setting(2_000, "of them at once", ge=1)
    certify_per_s: float = setting(
        20.0,
        "certificates asked for from one network address; a fleet behind one NAT shares it",
        ge=0,
    )
    certify_burst: int = setting(1_000, "of them at once", ge=1)
    report_per_s: float = setting(0.2, "reports of one device", ge=0)
    report_burst: int = setting(30, "of them at once", ge=1)
    fetch_per_s: float = setting(2.0, "downloads that one device begins", ge=0)
    fetch_burst: int = setting(60, "of them at once", ge=1)
    checks_per_s: float = setting(
        500.0,
        "questions for updates that all devices together may ask; "
        "a larger fleet is told to ask less often",
        ge=0,
    )
