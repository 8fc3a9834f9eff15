"""Checks of who may speak to a cloud. Nothing is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from driftline_cloud.config import CloudConfig
from driftline_cloud.signing.files import SigningFiles, has_signing
from driftline_cloud.signing.shown import shown
from driftline_cloud.signing.whole import trouble
from driftline_cloud.trust.authority import FOLDER, has_authority, read_authority, root_is_here
from driftline_shared.errors import ConfigError
from driftline_shared.host.loopback import is_loopback
from driftline_shared.plain_text import moment
from driftline_shared.program.checks import Check, fail, ok, warn
from driftline_shared.program.proxies import host_of
from driftline_shared.signing.ends import ending
from driftline_shared.trust.certificates import trouble_with

SOON = timedelta(days=60)
"""An issuing certificate that ends within so long is told: every leaf ends with it."""


def check_authority(config: CloudConfig, now: datetime | None = None) -> Check:
    """Whether this cloud knows who calls, and for how long yet."""
    now, name = now or datetime.now(UTC), "authority"
    if not has_authority(config.state):
        if is_loopback(host_of(config.listen)):
            return ok(name, f"none: whoever is on this machine may call {config.listen}")
        found = f"none, and {config.listen} is reached from elsewhere: it does not start"
        return fail(name, found, "`driftline cloud init` makes one; or listen on 127.0.0.1.")
    if config.trust.insecure:
        fix = "Remove `trust.insecure`: the authority is there, and is not used."
        return warn(name, "anybody on this machine may call (`trust.insecure`)", fix)
    try:
        authority = read_authority(config.state)
    except ConfigError as error:
        return fail(name, str(error), error.fix)
    if trouble := trouble_with(authority.issuing, now):
        fix = "Set the clock, if it is the clock; else make a new authority and enrol anew."
        return fail(name, f"the issuing certificate does not hold: {trouble}", fix)
    ends = authority.issuing.not_valid_after_utc
    known = f"{authority.fingerprint[:16]}, issues until {ends:%Y-%m-%d}"
    if ends - now < SOON:
        return warn(name, known, "Plan a new issuing key: every certificate ends with it.")
    if authority.next_root is not None:
        fix = "`driftline cloud renew-root` says who has yet to come, `--finish` ends the old one."
        return warn(name, f"{known}; its root is being rolled over", fix)
    if root_is_here(config.state):
        path = config.state / FOLDER / "root.key"
        return warn(name, f"{known}; the root's key is still here", f"Move {path} offline.")
    return ok(name, known)


def check_signing(config: CloudConfig, now: datetime | None = None) -> Check:
    """Whether updates are signed, and for how long yet."""
    now_s, name = (now or datetime.now(UTC)).timestamp(), "signing"
    if not has_signing(config.state):
        if not has_authority(config.state):
            return ok(name, "updates are not signed: there is no authority")
        fix = "`driftline cloud keys init` makes keys; devices ask for signatures from then on."
        return warn(name, "updates are not signed, though there is an authority", fix)
    files = SigningFiles(config.state)
    if cause := trouble(files):
        fix = (
            "The cloud mends what needs no root key within a second of its start; else bring "
            "`trust/updates` back from a backup, or `driftline cloud keys rotate`."
        )
        return fail(name, f"no update is signed: {cause}", fix)
    try:
        found = shown(config.state)
    except ConfigError as error:
        return fail(name, str(error), error.fix)
    ends = {row["role"]: float(row["ends_unix_s"]) for row in found["roles"]}
    if (soon := ending(ends, now_s)) is not None:
        told = fail if ends["root"] <= now_s else warn
        return told(name, soon.found, soon.fix)
    if ends["timestamp"] <= now_s:
        until = f"the last timestamp ended on {moment(ends['timestamp'])}Z"
        fix = "Start `driftline cloud serve`, which signs: devices install nothing until then."
        return warn(name, until, fix)
    known = f"updates are signed, by a root until {moment(ends['root'])}Z"
    if strays := files.strays():
        named = ", ".join(str(path) for path in strays[:3])
        return warn(name, f"{known}; {named} is no metadata of this cloud", "Remove it.")
    if here := found["root_keys_here"]:
        fix = f"Move {here[0]} and its like offline, to three places."
        return warn(name, f"{known}; {len(here)} of its keys are still here", fix)
    return ok(name, known)
