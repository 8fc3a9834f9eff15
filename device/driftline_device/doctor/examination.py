"""All checks of the doctor, in the order they are shown. They only look, also beside a daemon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from driftline_device.config import DeviceConfig
from driftline_device.doctor.feeds import check_feeds
from driftline_device.doctor.files import check_files
from driftline_device.doctor.identity import check_identity
from driftline_device.doctor.machine import (
    check_camera,
    check_clock,
    check_compressor,
    check_disk,
    check_gate,
    check_memory,
    check_runtime,
    runtime_name,
)
from driftline_device.doctor.signatures import check_signatures
from driftline_device.doctor.sinks import check_sinks
from driftline_device.doctor.state import (
    check_daemon,
    check_spool,
    check_update,
    check_versions,
    read_policy,
    read_status,
)
from driftline_device.link.control import check_health
from driftline_device.link.identity import identity_in
from driftline_shared.errors import ConfigError, DriftlineError, LinkError
from driftline_shared.host.lock import lock_holder
from driftline_shared.pair.pair import Pair, load_draft, load_pair
from driftline_shared.pair.signed import check_signed
from driftline_shared.program.checks import Check, fail, ok, warn

CLOUD_TIMEOUT_S = 5.0


def examine(config: DeviceConfig) -> list[Check]:
    """Every check of the device that `config` describes."""
    found, pair = check_pair(config.pair, config.pair_key)
    status = read_status(config.state)
    is_running = lock_holder(config.state) is not None
    newest_unix_s = float((status or {}).get("unix_s", 0.0))
    runtime = runtime_name(config, pair)
    policy = read_policy(config)
    sampling = () if pair is None else (check_gate(policy, pair),)
    compressor = (("compressor", lambda: check_compressor(config, runtime, pair)),)
    sinks = (("sinks", lambda: check_sinks(config)),)
    feeds = (("feeds", lambda: check_feeds(config, status, running=is_running)),)
    checks: tuple[tuple[str, Callable[[], Check | None]], ...] = (
        ("runtime", lambda: check_runtime(runtime)),
        *(compressor if config.compressor else ()),
        ("memory", lambda: check_memory(pair, is_running=is_running)),
        ("disk", lambda: check_disk(config)),
        ("daemon", lambda: check_daemon(config.state, status)),
        ("spool", lambda: check_spool(config.state)),
        ("versions", lambda: check_versions(config.state)),
        ("update", lambda: check_update(config.state)),
        ("signatures", lambda: check_signatures(config.state, pair, status)),
        ("identity", lambda: check_identity(config.state)),
        ("cloud", lambda: check_cloud(config.cloud, config.state)),
        *(feeds if config.feeds else ()),
        *(sinks if config.sinks else ()),
        ("clock", lambda: check_clock(newest_unix_s)),
        ("camera", check_camera),
    )
    return [
        ok("configuration", f"reads; state in {config.state}"),
        found,
        *(each for each in sampling if each is not None),
        *(each for name, check in checks if (each := _guarded(name, check)) is not None),
        *check_files(config.state),
    ]


def check_pair(name: str, pair_key: str = "") -> tuple[Check, Pair | None]:
    """Whether the pair reads, and the pair. Nothing is fetched or put together for that."""
    try:
        signed = check_signed(name, pair_key)
        by = "" if signed is None else f", signed by {signed.key[:16]}"
        student = load_draft(name).spec.student
        if student.id is not None or student.trained is not None:
            return ok("pair", f"{name}: weights are fetched or assembled at first use{by}"), None
        pair = load_pair(name)
    except DriftlineError as error:
        return fail("pair", str(error), error.fix), None
    kind = "pair" if pair.exported is None else "export"
    return ok("pair", f"{kind} {pair.name} in {pair.dir}{by}"), pair


def check_cloud(address: str, state: Path) -> Check:
    """Whether the cloud takes this device; a device without one works alone."""
    if not address:
        return ok("cloud", "none is set: the device works alone")
    try:
        identity = identity_in(state, address)
        shown = None if identity is None else identity.credentials
        check_health(address, timeout_s=CLOUD_TIMEOUT_S, credentials=shown)
    except (ConfigError, LinkError) as error:
        return fail("cloud", str(error), error.fix)
    as_whom = "" if identity is None else f", and knows this device as {identity.device_id}"
    return ok("cloud", f"{address} serves{as_whom}")


def _guarded(name: str, check: Callable[[], Check | None]) -> Check | None:
    """What makes one check stumble (rights, say) must not keep the others from being made."""
    try:
        return check()
    except OSError as error:
        return warn(name, f"cannot be checked: {error}", "Run doctor as the user of the daemon.")
