"""Tables of the compressors: accuracy kept and time taken, and what was trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from driftline_lab.docs_tables.page import Page, Rows
from driftline_shared.errors import DataError

KEEP = 0.25
_DRIVER = "driver alone"
_CONTROLS = {"random": "random tokens", "smaller picture": "smaller pictures"}
_SUMMARY = {
    "fastv": "FastV",
    "sparsevlm": "SparseVLM",
    "tome": "ToMe",
    "vidcom2": "VidCom2",
    "dycoke": "DyCoke",
    "evs": "EVS, as in vLLM",
    "visionzip": "VisionZip",
    "divprune": "DivPrune",
    **_CONTROLS,
}

Measured = dict[str, dict[str, Any]]


def measured(page: Page) -> Rows:
    """Every method at `keep` = 0.25, what is no method, and the driver that drops nothing."""
    kept = [_both(page, names, KEEP) for names in _KEPT]
    layouts = page.result("compress_speed")["result"]["layouts"]
    times = [_rows(layout, KEEP) for layout in layouts]
    alone = [_rows(layout, 1.0)[_DRIVER] for layout in layouts]
    methods = sorted(set().union(*kept, *times) - set(_CONTROLS))
    body = [
        [f"`{name}`", *(_kept(part, name) for part in kept), *(_time(part, name) for part in times)]
        for name in methods
    ]
    heads = [_short(layout["layout"]) for layout in layouts]
    return [
        ["", "kept, `tiny`", "kept, `tiny-video`", *(f"first token, {head}" for head in heads)],
        *body,
        *(
            [title, *(_kept(part, name) for part in kept), "", ""]
            for name, title in _CONTROLS.items()
        ),
        [
            "no tokens dropped, the driver alone",
            *(f"{100 * _both(page, names, 1.0)[_DRIVER]['share']:.0f}" for names in _KEPT),
            *(f"{100 * row['first_ratio']:.0f}" for row in alone),
        ],
    ]


def exported(page: Page) -> Rows:
    """Methods on an export without torch: time to the first token, and whose tokens stay."""
    rows = page.result("compress_exported")["result"]["rows"]
    return [
        [
            "",
            "first token",
            "share",
            "with the tower",
            "share",
            "the tokens of torch",
        ],
        *(
            [
                f"`{label}`" if "same_tokens" in row else "no compressor",
                f"{1e3 * row['first_s']:.0f} ms",
                f"{100 * row['first_share']:.0f} %",
                f"{1e3 * row['pixels_s']:.0f} ms",
                f"{100 * row['pixels_share']:.0f} %",
                "{} of {} pictures".format(*row["same_tokens"]) if "same_tokens" in row else "",
            ]
            for label, row in rows.items()
        ),
    ]


def summary(page: Page) -> Rows:
    """A few of them, with both times in one column."""
    results = [page.result(names[0])["result"] for names in _KEPT]
    kept = [_both(page, names, KEEP) for names in _KEPT]
    times = [_rows(part, KEEP) for part in page.result("compress_speed")["result"]["layouts"]]
    head = [
        f"kept on `tiny`, {results[0]['num_questions']} questions",
        f"kept on `tiny-video`, {results[1]['num_questions']}",
        "time to the first token, SmolLM2-135M, 576 visual tokens: picture / clip",
    ]
    body = [
        [
            title,
            *(_percent(_kept(part, name)) for part in kept),
            " / ".join(_percent(text) for part in times if (text := _time(part, name))),
        ]
        for name, title in _SUMMARY.items()
    ]
    return [["", *head], *body]


def trained(page: Page) -> Rows:
    """The compressors that learn, each with its own training."""
    trainings = [one["result"] for one in page.result("compressors")["trainings"]]
    head = ["uncompressed", "untrained", "trained", "retention", "tokens", "weights", "training"]
    return [["", *head], *(_training(one) for one in sorted(trainings, key=_by_retention))]


_KEPT = (
    ("compress_tiny_quarter", "compress_tiny_later"),
    ("compress_tiny_video", "compress_tiny_video_later"),
)
"""Two runs of the same questions each: of the first twelve methods, and of those that came later.
"""


def _by_retention(training: dict[str, Any]) -> float:
    return -float(training["retention"])


def _training(one: dict[str, Any]) -> Sequence[str]:
    options, visual = one["options"], one["num_visual"]
    option = "tokens" if "tokens" in options else "keep"
    if one["method"] == "mod":
        tokens = f"{visual}, {100 * options['keep']:.0f} % of them in MoD layers"
    else:
        tokens = f"{round(visual * options['keep']) or options['tokens']} of {visual}"
    size = one["weight_bytes"]
    return [
        f"`{one['method']}`, `{option}` = {options[option]}",
        *(f"{100 * one[name]:.1f} %" for name in ("upper", "lower", "x", "retention")),
        tokens,
        f"{size} bytes" if size < 10_000 else f"{size / 1e6:.1f} MB",
        f"{one['num_steps']:,} steps, {one['seconds']:.0f} s",
    ]


def _both(page: Page, names: tuple[str, str], keep: float) -> Measured:
    """Label -> row of one budget, of both runs. Raises DataError where they cannot be compared."""
    first, later = (page.result(name)["result"] for name in names)
    if not first["num_questions"] == later["num_questions"] or _plain(first) != _plain(later):
        raise DataError(f"{' and '.join(names)} are not of the same model and questions")
    return _rows(later, keep) | _rows(first, keep)


def _plain(result: dict[str, Any]) -> tuple[int, float]:
    """Seed and accuracy of the uncompressed model."""
    return result["seed"], result["rows"][0]["accuracy"]


def _rows(result: dict[str, Any], keep: float) -> Measured:
    """Label -> row, of one budget."""
    return {row["label"]: row for row in result["rows"] if row["keep"] == keep}


def _kept(rows: Measured, name: str) -> str:
    row = rows.get(name)
    return f"{100 * row['share']:.1f} ± {100 * row['share_error']:.1f}" if row else ""


def _time(rows: Measured, name: str) -> str:
    row = rows.get(name)
    return f"{100 * row['first_ratio']:.0f}" if row else ""


def _percent(text: str) -> str:
    return f"{text} %" if text else ""


def _short(layout: str) -> str:
    """ "clip, 16 frames of 6 x 6 tokens" as "clip 16 x 6 x 6"."""
    return layout.replace(",", "").replace("frames of", "x").removesuffix(" tokens")
