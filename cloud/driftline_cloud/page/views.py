"""The pages as text, made of values: they know neither a server nor a database."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from driftline_cloud.lines.book import ACTIVE
from driftline_cloud.page.charts import accuracy_chart, bytes_chart
from driftline_cloud.page.frame import (
    Cell,
    Frame,
    facts,
    held,
    lines_choice,
    paged,
    said,
    table,
    to,
)
from driftline_cloud.page.log import log_table
from driftline_cloud.page.orders.forms import orders
from driftline_cloud.page.orders.given import LINE, RELEASE
from driftline_cloud.page.text import ago, count, lasted, percent, size, when
from driftline_cloud.page.values import (
    ApartFacts,
    Asked,
    CorrectionFacts,
    DeviceDetail,
    DeviceFacts,
    LineFacts,
    RoundFacts,
    VersionFacts,
)
from driftline_cloud.rollout.audit import AuditEntry
from driftline_shared.pages.markup import Markup, join, tag

_STATE_CLASS = {"done": "good", "rejected": "", "failed": "bad", "stopped": "bad"}
MOST_VERSIONS = 12
"""Of a line on the first page."""


def lines_page(frame: Frame, lines: Sequence[LineFacts]) -> str:
    """Every line: what it holds, who drives it, what holds it, how its rounds went."""
    nothing = tag("p", "No line yet: a cloud makes one when it is served.", class_="note")
    cards = [_line(frame, line, f"line{place}") for place, line in enumerate(lines)]
    return frame.page("Lines", *(cards or [nothing]))


def _line(frame: Frame, line: LineFacts, name: str) -> Markup:
    running = line.rounds[0] if line.rounds and line.rounds[0].is_open else None
    parts = [
        tag("h2", said(line.line)),
        orders(frame, LINE, line.line),
        facts(
            ("newest version", str(line.newest_version)),
            ("devices", f"{line.num_devices:,}"),
            ("samples", f"{line.num_samples:,}"),
            ("waiting", f"{line.num_waiting:,}"),
            ("in quarantine", f"{line.num_quarantined:,}"),
            ("rounds", f"{line.num_rounds:,}"),
        ),
        *held(line.held),
    ]
    if running is not None:
        parts.append(_running(frame, line, running))
    driver = "Nobody holds its lease."
    if line.driver:
        driver = f"Lease of {said(line.driver)} until {when(line.lease_unix_s)} UTC."
    parts.append(tag("p", driver, class_="note"))
    workers: list[list[Cell]] = [
        [
            said(worker.owner),
            (worker.state, "bad" if worker.state in ("blocked", "gone") else ""),
            percent(worker.progress) if worker.state == "working" else "",
            (ago(worker.last_seen_unix_s, frame.now_s), "time"),
            (said(worker.reason), "text"),
        ]
        for worker in line.workers
    ]
    parts.append(
        table(("worker", "state", "done #", "said", "why"), workers, nothing="No worker yet.")
    )
    by_version = list(line.by_version.items())
    if by_version:
        shown = ", ".join(
            f"{count(num, 'device')} with version {version}"
            for version, num in by_version[:MOST_VERSIONS]
        )
        rest = len(by_version) - MOST_VERSIONS
        parts.append(tag("p", shown + (f" and {rest} more versions" if rest > 0 else "")))
    charts = (accuracy_chart(line.rounds, f"{name}-a"), bytes_chart(line.rounds, f"{name}-b"))
    parts.append(tag("div", *charts, class_="charts"))
    parts.append(
        tag(
            "p",
            tag("a", "rounds", href=to("/rounds", line=line.line)),
            " · ",
            tag("a", "versions", href=to("/versions", line=line.line)),
            " · ",
            tag("a", "devices", href=to("/devices", line=line.line)),
        )
    )
    return tag("section", *parts, class_="card")


def _running(frame: Frame, line: LineFacts, one: RoundFacts) -> Markup:
    """Where the open round is. Of a line that is not active it stands, also in the seconds in which
    its worker has yet to see that.
    """
    number = tag("a", str(one.number), href=to(f"/rounds/{one.id}"))
    if line.state not in ("", ACTIVE):
        stands = f" stands at {one.state}, with {count(one.num_samples, 'sample')}."
        return tag("p", "Round ", number, stands, class_="note")
    return tag(
        "p",
        "Round ",
        number,
        f" is {one.state}, {percent(line.progress)} of it done, for "
        f"{lasted(frame.now_s - one.created_unix_s)}, with {count(one.num_samples, 'sample')}.",
        class_="well",
    )


def rounds_page(
    frame: Frame, total: int, rounds: Sequence[RoundFacts], asked: Asked, lines: Sequence[str]
) -> str:
    """Rounds, newest first, with what came of them."""
    rows = [_round_row(frame, one) for one in rounds]
    heads = (
        "round",
        "state",
        "started (UTC)",
        "lasted #",
        "samples #",
        "version #",
        "before #",
        "after #",
        "source #",
        "bytes #",
        "why",
    )
    return frame.page(
        "Rounds",
        lines_choice(frame, lines, asked.line, every=True),
        table(heads, rows, nothing="No round yet."),
        paged(frame, asked.offset, asked.limit, len(rounds), total),
    )


def _round_row(frame: Frame, one: RoundFacts) -> list[Cell]:
    weight = one.numbers.get("update.update_bytes") if one.state == "done" else None
    until_s = frame.now_s - one.created_unix_s if one.is_open else one.seconds
    return [
        tag("a", said(one.id), href=to(f"/rounds/{one.id}")),
        (one.state, _STATE_CLASS.get(one.state, "")),
        (when(one.created_unix_s), "time"),
        lasted(until_s),
        f"{one.num_samples:,}",
        str(one.target_version) if one.state == "done" else "",
        _share(one, "gate.base_agreement"),
        _share(one, "gate.candidate_agreement"),
        _share(one, "gate.candidate_source_accuracy"),
        "" if weight is None else size(weight),
        (said(one.reason), "text"),
    ]


def round_page(frame: Frame, one: RoundFacts) -> str:
    """One round with every number that was measured."""
    until_s = frame.now_s - one.created_unix_s if one.is_open else one.seconds
    numbers = sorted(one.numbers.items())
    groups = [
        tag(
            "section",
            tag("h2", said(group)),
            table(
                ("number", "value #"),
                [[said(name.partition(".")[2]), f"{value:.6g}"] for name, value in found],
                nothing="",
            ),
            class_="card",
        )
        for group, found in groupby(numbers, key=lambda each: each[0].partition(".")[0])
    ]
    return frame.page(
        f"Round {one.number} of {said(one.line)}",
        facts(
            ("state", one.state),
            ("started (UTC)", when(one.created_unix_s)),
            ("lasted", lasted(until_s)),
            ("samples", f"{one.num_samples:,}"),
            ("versions", f"{one.base_version} → {one.target_version}"),
            ("starts of this state", str(one.num_starts)),
            ("errors of this state", str(one.num_errors)),
        ),
        tag("p", f"Started because: {said(one.trigger) or 'not known'}."),
        tag("p", f"Now: {said(one.reason)}", class_="held" if one.state == "failed" else None),
        tag("div", *groups) if groups else tag("p", "Nothing was measured yet.", class_="note"),
    )


def versions_page(
    frame: Frame,
    versions: Sequence[VersionFacts],
    done: Sequence[AuditEntry],
    asked: Asked,
    lines: Sequence[str],
) -> str:
    """Versions of a line with how far each has got, and who did what."""
    rows: list[list[Cell]] = [
        [
            str(one.version),
            (one.state or "everyone's", _STATE_CLASS.get(one.state, "")),
            one.phase,
            percent(one.share),
            f"{one.num_devices:,}",
            size(one.update_bytes) if one.update_bytes else "",
            (when(one.released_unix_s), "time"),
            tag("a", said(one.round_id), href=to(f"/rounds/{one.round_id}")),
            (said(one.reason), "text"),
        ]
        for one in versions
    ]
    heads = (
        "version #",
        "state",
        "phase",
        "offered to #",
        "devices #",
        "bytes #",
        "released (UTC)",
        "round",
        "why",
    )
    return frame.page(
        f"Versions of {said(asked.line)}" if asked.line else "Versions",
        lines_choice(frame, lines, asked.line, every=False),
        orders(frame, RELEASE if asked.line else (), asked.line, asks_why=True),
        table(heads, rows, nothing="No version was released yet: devices have version 0."),
        paged(frame, asked.offset, asked.limit, len(versions), None),
        tag("h2", "Who did what"),
        log_table(done, with_line=False),
        tag(
            "p",
            "More orders are given on the command line: ",
            tag("code", "driftline cloud release --help"),
            class_="note",
        ),
    )


def devices_page(
    frame: Frame, total: int, devices: Sequence[DeviceFacts], asked: Asked, lines: Sequence[str]
) -> str:
    """Devices, stuck ones first."""
    hidden = (
        [tag("input", type="hidden", name="line", value=said(asked.line))] if asked.line else []
    )
    search = tag(
        "form",
        *hidden,
        tag(
            "input",
            name="search",
            value=said(asked.search),
            maxlength=128,
            placeholder="part of a device's id",
            aria_label="part of a device's id",
        ),
        tag("button", "search"),
        method="get",
        action="/devices",
    )
    rows = [_device_row(frame, one, with_line=len(lines) > 1) for one in devices]
    of_line = ["line"] if len(lines) > 1 else []
    heads = ["device", *of_line, "version #", "last seen", "last report", "what holds it"]
    nothing = "No device has this in its id." if asked.search else "No device has enrolled yet."
    return frame.page(
        "Devices",
        lines_choice(frame, lines, asked.line, every=True),
        search,
        table(heads, rows, nothing=nothing),
        paged(frame, asked.offset, asked.limit, len(devices), total),
    )


def _device_row(frame: Frame, one: DeviceFacts, *, with_line: bool) -> list[Cell]:
    well = not one.last_report or one.last_report.startswith("applied ")
    row: list[Cell] = [
        tag("a", said(one.device_id), href=to("/devices/one", id=one.device_id)),
        *([said(one.line)] if with_line else []),
        (str(one.adapter_version), "number"),
        (ago(one.last_seen_unix_s, frame.now_s), "time"),
        (said(one.last_report) or "–", "" if well else "bad"),
        (said(one.held), "text"),
    ]
    return row


def device_page(frame: Frame, found: DeviceDetail) -> str:
    """One device with what it reported."""
    one = found.device
    rows: list[list[Cell]] = [
        [
            (when(each.received_unix_s), "time"),
            str(each.version),
            (each.outcome.replace("_", " "), "good" if each.outcome == "applied" else "bad"),
            said(each.reason),
            (said(each.detail), "text"),
        ]
        for each in found.reports
    ]
    return frame.page(
        f"Device {said(one.device_id)}",
        facts(
            ("line", said(one.line)),
            ("version", str(one.adapter_version)),
            ("last seen", ago(one.last_seen_unix_s, frame.now_s)),
            ("enrolled (UTC)", when(one.enrolled_unix_s)),
            ("samples", f"{found.num_samples:,}"),
            ("waiting", f"{found.num_waiting:,}"),
            ("in quarantine", f"{found.num_quarantined:,}"),
        ),
        join(*held([one.held] if one.held else [])),
        table(
            ("when (UTC)", "version #", "update", "reason", "detail"),
            rows,
            nothing="It has reported no update yet.",
        ),
    )


def quarantine_page(
    frame: Frame, total: int, samples: Sequence[ApartFacts], asked: Asked, lines: Sequence[str]
) -> str:
    """Samples that no round can work on, newest first."""
    rows: list[list[Cell]] = [
        [
            tag("code", one.sample_id),
            tag("a", said(one.device_id), href=to("/devices/one", id=one.device_id)),
            tag("a", said(one.round_id), href=to(f"/rounds/{one.round_id}")),
            (when(one.quarantined_unix_s), "time"),
            said(one.reason),
            (said(one.detail), "text"),
        ]
        for one in samples
    ]
    heads = ("sample", "device", "round", "since (UTC)", "reason", "detail")
    return frame.page(
        "Quarantine",
        lines_choice(frame, lines, asked.line, every=True),
        table(heads, rows, nothing="No sample is in quarantine."),
        paged(frame, asked.offset, asked.limit, len(samples), total),
        tag(
            "p",
            "Decide with ",
            tag("code", "driftline cloud samples drop ID"),
            " or ",
            tag("code", "driftline cloud samples release ID"),
            ".",
            class_="note",
        ),
    )


def corrections_page(frame: Frame, found: CorrectionFacts) -> str:
    """Who waits for the teacher's answer."""
    rows: list[list[Cell]] = [
        [
            tag("a", said(device), href=to("/devices/one", id=device)),
            f"{num:,}",
            (ago(first_s, frame.now_s), "time"),
        ]
        for device, num, first_s in found.devices
    ]
    given_up: list[list[Cell]] = [
        [said(why), f"{num:,}"] for why, num in sorted(found.no_answer.items())
    ]
    oldest = ago(found.oldest_unix_s, frame.now_s) if found.oldest_unix_s else "–"
    return frame.page(
        "Corrections",
        facts(
            ("wait for the teacher", f"{found.num_waiting:,}"),
            ("the longest was asked", oldest),
            ("wait for their device", f"{found.num_answered:,}"),
        ),
        table(
            ("device", "samples #", "asked first"),
            rows,
            nothing="No device waits for the teacher's answer.",
        ),
        tag("h2", "No answer, because"),
        table(("reason", "answers #"), given_up, nothing="None was given up."),
    )


def fault_page(frame: Frame, title: str, sentence: str) -> str:
    """A page that cannot be shown, and why."""
    return frame.page(title, *held([sentence]))


def _share(one: RoundFacts, key: str) -> str:
    return percent(one.numbers[key]) if key in one.numbers else ""
