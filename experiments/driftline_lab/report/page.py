"""One HTML page of a run that needs nothing else: no network, no script, no font of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from itertools import islice
from pathlib import Path

from driftline_lab.data.domains import SOURCE
from driftline_lab.report.chart import timeline_chart
from driftline_lab.report.figure import figure
from driftline_lab.report.numbers import count, percent, size
from driftline_lab.report.series import MOST_BANDS, MOST_MARKS, Series, read_series
from driftline_lab.report.tables import domains_table, rounds_table, settings_tables
from driftline_lab.runs.domains import in_order
from driftline_lab.runs.folder import METRICS, TIMELINE, Run, read_run
from driftline_lab.runs.run import Metrics
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.host.durable import write_atomic
from driftline_shared.pages.markup import Markup, tag

WIDE, NARROW = 1054.0, 332.0
"""The chart is drawn twice, for a desk and for a phone: scaled text would not be readable."""

MOST_PICTURES = 24

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Content security policy: even what slipped through the escaping could not run or be fetched."""


def write_page(run: Path, page: Path) -> None:
    """Write the page of the run folder `run` into the file `page`.

    DataError for a wrong run, ConfigError for a `page` that cannot be written.
    """
    if page.is_dir():
        raise ConfigError(f"page {page} is a folder: name a file, for example {page / 'page.html'}")
    text = report_page(read_run(run))
    try:
        write_atomic(page, text.encode())
    except OSError as error:
        raise ConfigError(
            f"page {page} cannot be written: {error.strerror}; name another file with --out"
        ) from error


def report_page(run: Run) -> str:
    """The whole page of `run`. Reads its timeline twice; DataError for what is wrong in it."""
    num_answers, seen = sum(1 for _ in run.timeline()), run.metrics.uplink.seen
    if num_answers < seen:
        raise DataError(
            f"{run.folder / TIMELINE} has {num_answers} lines, {METRICS} tells of {seen} answers "
            "(uplink.seen): the end of the timeline is missing"
        )
    series = read_series(run.timeline(), num_answers, run.metrics.updates)
    # The file has the domains by name; people expect them as they came.
    run = replace(run, metrics=in_order(run.metrics, [band.domain for band in series.bands]))
    style = resources.files("driftline_lab.report").joinpath("page.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"Driftline {run.info.kind}: {run.info.pair}, seed {run.info.seed}"),
        tag("style", Markup(style)),
    )
    domains = domains_table(run.metrics, run.info.kind, as_recorded=run.info.as_recorded)
    body = tag(
        "body",
        tag("header", *_header(run, num_answers)),
        tag(
            "main",
            *_timeline(series, run.metrics),
            *_section("Domains", tag("div", domains, class_="card wide")),
            *_section("Rounds", rounds_table(run.metrics)),
            *_section("Up and down", _transfers(run.metrics)),
            *_pictures(run),
            *_section("Settings", settings_tables(run)),
        ),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def headline(metrics: Metrics) -> str:
    """The run in one sentence."""
    drifted = [
        (domain, row.recovered)
        for domain, row in metrics.accuracy.items()
        if domain != SOURCE and row.recovered is not None
    ]
    if not drifted:
        return f"{count(len(metrics.rounds), 'round')}, {count(len(metrics.updates), 'update')}"
    parts = [f"{percent(share)} on {domain}" for domain, share in islice(drifted, 4)]
    more = f" and {len(drifted) - 4} more domains" if len(drifted) > 4 else ""
    return f"The device made up {_listed(parts)}{more} of its distance to the teacher"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _header(run: Run, num_answers: int) -> list[Markup]:
    info, metrics = run.info, run.metrics
    up, updates = metrics.uplink, metrics.updates
    down = sum(update.bytes for update in updates)
    named = [f"Driftline {info.kind}", f"pair {info.pair}", info.world, f"seed {info.seed}"]
    if info.link:
        named.append(f"link {info.link}")
    rounds = count(len(metrics.rounds), "round")
    done = sum(each.state == "done" for each in metrics.rounds)
    before_after = [
        (row.before, row.after) for domain, row in metrics.accuracy.items() if domain != SOURCE
    ]
    tiles = []
    if before_after and not info.as_recorded:
        before, after = (
            sum(values) / len(before_after) for values in zip(*before_after, strict=True)
        )
        tiles.append(("accuracy on drifted domains", percent(after), f"{percent(before)} before"))
    tiles += [
        (
            "samples sent",
            percent(up.sent / up.seen if up.seen else None),
            f"{up.sent:,} of {up.seen or num_answers:,} answers",
        ),
        (
            "up",
            size(up.bytes),
            f"of samples alone, {size(up.bytes / up.sent) if up.sent else '–'} each",
        ),
        (
            "down",
            size(down),
            f"of {count(len(updates), 'update')} with manifests; {rounds}",
        ),
    ]
    return [
        tag("p", " · ".join(filter(None, named)), class_="eyebrow"),
        tag("h1", headline(metrics)),
        tag(
            "p",
            f"{num_answers:,} questions; {up.sent:,} uncertain answers were sent as a part of "
            f"their visual tokens; {done} of {rounds} released an update.",
            class_="lead",
        ),
        tag(
            "dl",
            *(
                tag(
                    "div",
                    tag("dt", name),
                    tag("dd", value, class_="big"),
                    tag("dd", small, class_="small"),
                    class_="tile",
                )
                for name, value, small in tiles
            ),
            class_="tiles",
        ),
    ]


def _section(title: str, *content: Markup) -> list[Markup]:
    name = title.lower().replace(" ", "-")
    return [tag("section", tag("h2", title, id=name), *content, aria_labelledby=name)]


def _timeline(series: Series, metrics: Metrics) -> list[Markup]:
    if not series.points:
        return _section("Timeline", tag("p", "This run kept no timeline.", class_="note"))
    return _section(
        "Timeline",
        tag(
            "div",
            *(
                tag(
                    "div",
                    timeline_chart(series, metrics, width=width, name=f"timeline-{kind}"),
                    class_=kind,
                )
                for kind, width in (("desk", WIDE), ("phone", NARROW))
            ),
            _key(),
            *(tag("p", sentence, class_="note") for sentence in left_out(series, metrics)),
            class_="card",
        ),
    )


def left_out(series: Series, metrics: Metrics) -> list[str]:
    """What the charts of a long run do not show."""
    found = []
    if series.step > 1:
        found.append(f"The curves have a point every {series.step:,} answers.")
    if len(series.bands) > MOST_BANDS:
        found.append(
            f"The domain changes more often than {MOST_BANDS} times; what comes after is one band."
        )
    most = max(len(metrics.rounds), len(metrics.updates))
    if most > MOST_MARKS:
        found.append(f"Of rounds and of updates the first {MOST_MARKS} are marked.")
    refused = [each for each in metrics.updates if each.refused]
    found += [
        f"v{each.version} was released, and a device did not keep it: {each.refused}."
        for each in refused[:MOST_MARKS]
    ]
    if late := [each for each in metrics.updates if each.at is None and each not in refused]:
        versions = ", ".join(f"v{each.version}" for each in late[:MOST_MARKS])
        found.append(
            f"{versions} ({size(sum(each.bytes for each in late))}) came after the last answer: "
            "the curve of bytes down ends without it."
        )
    return found


def _key() -> Markup:
    """What the marks mean."""
    marks = (
        (tag("line", x1=1, x2=21, y1=7, y2=7, class_="teacher"), "the teacher, on its test set"),
        (tag("path", d="M11 1l6 6l-6 6l-6 -6Z", class_="round done"), "round that released"),
        (tag("path", d="M11 1l6 6l-6 6l-6 -6Z", class_="round refused"), "round that did not"),
        (tag("line", x1=11, x2=11, y1=0, y2=14, class_="update"), "new version in force"),
    )
    return tag(
        "ul",
        *(
            tag("li", tag("svg", mark, viewBox="0 0 22 14", aria_hidden="true"), text)
            for mark, text in marks
        ),
        class_="key",
    )


def _transfers(metrics: Metrics) -> Markup:
    up, updates, numbers = metrics.uplink, metrics.updates, metrics.numbers
    groups = []
    if up.sent:
        groups.append(
            (
                "One sample up",
                "",
                [
                    ("kept tokens", up.bytes / up.sent),
                    ("picture, JPEG 90", numbers.get("uplink.jpeg90_bytes_per_sample")),
                    ("all tokens, fp16", numbers.get("uplink.fp16_tokens_bytes_per_sample")),
                ],
            )
        )
    if updates:
        groups.append(
            (
                "One update down",
                "down",
                [
                    ("update", sum(each.bytes for each in updates) / len(updates)),
                    ("adapter, fp16", numbers.get("downlink.fp16_adapter_bytes")),
                    ("model, fp16", numbers.get("downlink.fp16_model_bytes")),
                ],
            )
        )
    if not groups:
        return tag("p", "Nothing was sent either way.", class_="note")
    return tag("div", *(_bars(*group) for group in groups), class_="bars")


def _bars(title: str, kind: str, values: list[tuple[str, float | None]]) -> Markup:
    known = [(name, value) for name, value in values if value]
    most = max((value for _, value in known), default=1.0)
    bars = [
        tag(
            "div",
            tag("span", name, class_="name"),
            tag(
                "svg",
                tag("rect", width=max(0.6, 100 * value / most), height=12, rx=1),
                viewBox="0 0 100 12",
                preserveAspectRatio="none",
                aria_hidden="true",
            ),
            tag("span", size(value), class_="value"),
            class_=f"bar ours {kind}" if place == 0 else "bar",
        )
        for place, (name, value) in enumerate(known)
    ]
    return tag("div", tag("h3", title), *bars, class_="card")


def _pictures(run: Run) -> list[Markup]:
    if not run.pictures:
        return []
    stayed = "" if run.info.policy.get("images_may_leave") else "; no pixel left the device"
    return _section(
        "What left the device",
        tag(
            "p",
            "Some of the pictures behind the samples: of each, only the tokens of the bright "
            f"cells were sent, as numbers{stayed}.",
            class_="note",
        ),
        tag(
            "div",
            *(
                figure(picture, run.picture_bytes(picture))
                for picture in run.pictures[:MOST_PICTURES]
            ),
            class_="pictures",
        ),
    )
