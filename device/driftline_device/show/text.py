"""What a device wrote down, as lines for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from driftline_device.daemon.spending import Spent
from driftline_device.escalation.records import Tally
from driftline_device.show.budget import describe_plan
from driftline_device.updates.versions import Versions
from driftline_shared.errors import Reason, explain
from driftline_shared.plain_text import moment


def describe(snapshot: dict[str, Any]) -> list[str]:
    """The snapshot for people."""

    def share(value: float | None) -> str:
        return "unknown" if value is None else f"{100 * value:.1f} %"

    images = snapshot.get("images", {})  # a status file of an earlier version has none
    update, spool, link = snapshot["update"], snapshot["spool"], snapshot["link"]
    linked = "connected" if link.get("connected") else link.get("last_error") or "not connected"
    newest = (
        update["outcome"]
        if update["outcome"] == "none"
        else (f"version {update['target']} {update['outcome']} ({update['reason']})")
    )
    activity = snapshot["activity"]
    if snapshot.get("running") is False and activity != "stopped":
        activity = f"not running (it ended while {activity})"
    return [
        f"device    {snapshot['device_id']}, {activity}{_step(snapshot)}{_paused(snapshot)},"
        f" pair {snapshot['pair']}",
        f"answered  {snapshot['num_answered']} ({snapshot['num_errors']} failed,"
        f" {snapshot['num_broken_rows']} rows left out{_files(snapshot)}),"
        f" accuracy {share(snapshot['accuracy'])},"
        f" uncertainty {share(snapshot['uncertainty'])}",
        f"samples   {snapshot['num_sent']} of {snapshot['num_seen']} chosen,"
        f" {spool.get('num_samples', 0)} wait, {snapshot['bytes_up']} bytes up",
        f"images    {_images(images)}",
        f"version   {snapshot['version']}, newest update: {newest},"
        f" {snapshot['bytes_down']} bytes down{_head(snapshot)}",
        *_signatures(update.get("signatures") or {}),
        f"link      {linked}",
        *describe_plan(snapshot.get("budget") or {}),
        *_feeds(snapshot.get("feeds", {})),
        *_escalation(snapshot),
        *_sinks(snapshot.get("sinks", {})),
    ]


def _signatures(found: dict[str, Any]) -> list[str]:
    """Whether updates are believed, on a device that asks for signatures."""
    if not found:
        return []
    until = found["until_unix_s"]
    said = f"believed until {moment(until)}Z" if until else "required; nothing was signed yet"
    if found["reason"]:
        said = f"no update is believed now ({found['reason']}): {explain(Reason(found['reason']))}"
    return [f"signed    {said}"]


def _feeds(feeds: dict[str, dict[str, Any]]) -> list[str]:
    return [
        f"feed      {name}: {each['state']}, {each['num_pictures']} pictures"
        + (f"; {each['error']}" if each["error"] else "")
        for name, each in feeds.items()
    ]


def _escalation(snapshot: dict[str, Any]) -> list[str]:
    asked = snapshot.get("escalation")  # a status file of an earlier version has none
    if not asked:
        return []
    num_answered = snapshot["num_answered"]
    share = f" ({asked['asked'] / num_answered:.1%})" if num_answered else ""
    return [
        f"teacher   asked about {asked['asked']} of {num_answered} answers{share},"
        f" {asked['corrected']} came ({asked['agreed']} agree, {asked['in_time']} in time),"
        f" {asked['unanswered']} will not, {asked['waiting']} may"
    ]


def _sinks(sinks: dict[str, dict[str, Any]]) -> list[str]:
    return [
        f"sink      {name}: {each['num_delivered']} delivered, {each['num_waiting']} wait"
        + (f", {each['num_dropped']} left out" if each["num_dropped"] else "")
        + (f", {each['num_refused']} refused" if each["num_refused"] else "")
        + (f"; away: {each['error']}" if each["error"] else "")
        for name, each in sinks.items()
    ]


def _files(snapshot: dict[str, Any]) -> str:
    num = snapshot.get("num_files_left_out")  # a status file of an earlier version has none
    return f", {num} files of unknown kind" if num else ""


def _head(snapshot: dict[str, Any]) -> str:
    of = snapshot.get("p_ik_version")  # a status file of an earlier version has none
    return "" if of is None else f"; P(IK) head of version {of}"


def _step(snapshot: dict[str, Any]) -> str:
    step = snapshot.get("step")
    if step is None:
        return ""
    fix = " (`driftline device step` lets it go on)" if snapshot["activity"] == "waiting" else ""
    return f" at step {step}{fix}"


def _paused(snapshot: dict[str, Any]) -> str:
    since = snapshot.get("paused_unix_s")
    if since is None:
        return ""
    return f", paused since {_moment(since)}"


def _images(images: dict[str, Any]) -> str:
    if not images.get("allowed"):
        asked = "; the cloud asks for parts of them, none are sent" if images.get("asked") else ""
        return f"may not leave this device{asked}"
    if not images["asked"]:
        return "may leave this device, but the cloud asks for none"
    return f"may leave this device: parts of {images['num_sent']} went into samples"


def describe_versions(found: Versions) -> list[str]:
    """The versions of a device for people."""
    roles = {found.in_force: "in force", found.previous: "to fall back to"}
    lines = []
    if found.in_force == 0:
        lines.append("version 0  in force: the base model")
    for each in sorted(found.held, key=lambda held: -held.version):
        role = roles.get(each.version, "held")
        watched = ", under watch" if each.version == found.in_force and found.watching else ""
        lines.append(
            f"version {each.version}  {role}{watched}, slot {each.slot}, {each.num_bytes} bytes,"
            f" since {_moment(each.since_unix_s)}, digest {each.digest[:12]}"
            + (f", broken: {each.problem}" if each.problem else "")
        )
    for failed in found.failed:
        when = f" on {_moment(failed.unix_s)}" if failed.unix_s else ""
        lines.append(
            f"version {failed.version}  never tried again: {failed.reason}{when}. {failed.meaning}"
        )
    if found.newest_update is not None:
        newest = found.newest_update
        detail = f": {newest['detail']}" if newest["detail"] else ""
        lines.append(f"newest update: version {newest['target']} {newest['phase']}{detail}")
    return [*lines, *(f"cannot be read: {problem}" for problem in found.problems)]


def _moment(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%S} UTC"


def describe_bytes(found: Spent, *, limit: int, asked: Tally | None = None) -> list[str]:
    """The last 24 hours; `limit`: most bytes of samples a day, 0: none. `asked`: of the teacher."""
    bound = f"of {limit:,} a day" if limit else "without a limit (sampling.day_bytes)"
    return [
        f"samples   {found.day['up']:,} bytes up {bound}",
        *_describe_asked(asked),
        f"updates   {found.day['updates']:,} bytes down",
        f"asking    {found.day['asked']:,} bytes up",
        f"replies   {found.day['rest']:,} bytes down",
        f"in all    {sum(found.day.values()):,} bytes in 24 hours,"
        f" {sum(found.hour.values()):,} of them in the hour that runs",
    ]


def _describe_asked(asked: Tally | None) -> list[str]:
    if asked is None or not asked.asked:
        return []
    agree = f", {asked.agreed / asked.corrected:.0%} agree" if asked.corrected else ""
    return [
        f"  asking  {asked.num_bytes:,} of them for {asked.asked:,} answers of the teacher:"
        f" {asked.corrected:,} came{agree}"
    ]
