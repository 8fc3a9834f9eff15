"""What the demo measured: one document (`--json`), one table, and the numbers derived from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from rich.table import Table

from driftline_lab.data.domains import SOURCE
from driftline_lab.data.openmoji.captions import CaptionScores
from driftline_lab.recovered import share_recovered
from driftline_lab.report.numbers import count
from driftline_lab.runs.run import RunRound, RunUpdate


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """Shares of right answers, 0..1: the device before and after, the teacher on that test set."""

    before: float
    after: float
    teacher: float

    @property
    def recovered(self) -> float | None:
        """See `share_recovered`; None where there was no gap."""
        return share_recovered(before=self.before, after=self.after, teacher=self.teacher)


@dataclass(frozen=True, kw_only=True, slots=True)
class Captions:
    """Caption scores on a test set: the device before and after, and the teacher."""

    before: CaptionScores
    after: CaptionScores
    teacher: CaptionScores


@dataclass(frozen=True, kw_only=True, slots=True)
class Uplink:
    """Samples seen and sent; mean bytes of a coded sample beside its JPEG-90 and its fp16
    tokens.
    """

    seen: int
    sent: int
    bytes_per_sample: float
    jpeg90_bytes_per_sample: float
    fp16_tokens_bytes_per_sample: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Downlink:
    """Updates applied; mean bytes each (manifest and blob), beside the plain adapter and model."""

    updates: int
    bytes_per_update: float
    fp16_adapter_bytes: int
    fp16_model_bytes: int
    apply_pause_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoReport:
    """All of one run. `seconds`: the loop, from start of the two processes to the last answer.

    `device`: runtime, precision and compressor that the device ran and that were scored. `world`:
    the data set's name, or the folder of a user's own. `captions`: by domain, where the
    world has captions. `rounds_made`, `updates_made`: each round and version, with its digest.
    `owner`: what became of each update on the device, where a scripted owner marked answers.
    """

    pair: str
    device: dict[str, str]
    world: str
    seed: int
    seconds: float
    rounds: int
    accuracy: dict[str, Accuracy]
    uplink: Uplink
    downlink: Downlink
    captions: dict[str, Captions] = field(default_factory=dict)
    rounds_made: tuple[RunRound, ...] = ()
    updates_made: tuple[RunUpdate, ...] = ()
    owner: Sequence[Mapping[str, object]] = ()

    def document(self) -> dict[str, object]:
        """The JSON document of `driftline demo --json`."""
        found = asdict(self)
        if not self.owner:
            del found["owner"]
        return found


def table(report: DemoReport) -> Table:
    """The closing table, for people."""
    device = " ".join(filter(None, report.device.values()))
    out = Table(
        title=f"driftline demo: pair {report.pair} ({device}),"
        f" world {report.world}, seed {report.seed}",
        title_justify="left",
    )
    out.add_column("domain")
    for name in ("before", "after", "teacher", "recovered"):
        out.add_column(name, justify="right")
    for domain, row in report.accuracy.items():
        share = row.recovered if domain != SOURCE else None
        out.add_row(
            domain,
            *(f"{100 * value:.1f} %" for value in (row.before, row.after, row.teacher)),
            "" if share is None else f"{100 * share:.0f} %",
        )
    return out


TABLE_ORDER = 2
"""The BLEU people are shown: most captions have two words or three, and no longer n-gram."""


def caption_table(report: DemoReport) -> Table:
    """Caption scores by domain, each as before, after and the teacher's."""
    out = Table(
        title="captions: before/after/teacher; name match, CIDEr of its best, BLEU",
        title_justify="left",
    )
    out.add_column("domain", no_wrap=True)
    for name in ("n", "name %", "CIDEr", "of", f"BLEU-{TABLE_ORDER} %"):
        out.add_column(name, justify="right", no_wrap=True)
    for domain, row in report.captions.items():
        stages = (row.before, row.after, row.teacher)
        out.add_row(
            domain,
            str(row.before.num_captions),
            "/".join(f"{100 * each.name_match:.0f}" for each in stages),
            "/".join(f"{each.cider:.2f}" for each in stages),
            f"{row.before.cider_best:.2f}",
            "/".join(f"{100 * each.bleu[:TABLE_ORDER][-1]:.0f}" for each in stages),
        )
    return out


def sentences(report: DemoReport) -> list[str]:
    """What the table cannot hold: bytes up, bytes down, time."""
    up = report.uplink
    lines = [
        f"up:   {up.sent} of {up.seen} samples sent ({100 * up.sent / max(1, up.seen):.0f} %), "
        f"{up.bytes_per_sample:,.0f} B each; the same image as JPEG-90 "
        f"{up.jpeg90_bytes_per_sample:,.0f} B, "
        f"its fp16 tokens {up.fp16_tokens_bytes_per_sample:,.0f} B",
        _down(report.downlink),
        f"time: {report.seconds:.0f} s, {count(report.rounds, 'round')}",
    ]
    lines += [
        f"note: version {each.version} was released, and the device did not keep it: {each.refused}"
        for each in report.updates_made
        if each.refused
    ]
    if up.bytes_per_sample > up.jpeg90_bytes_per_sample:
        lines.append(
            "note: on these small pictures a JPEG would be smaller than its tokens; tokens are "
            "sent because no pixel leaves the device by default"
        )
    return lines


def _down(down: Downlink) -> str:
    if not down.updates:
        return "down: no update was released"
    return (
        f"down: {count(down.updates, 'update')} of {down.bytes_per_update:,.0f} B; the adapter in "
        f"fp16 is {down.fp16_adapter_bytes:,} B, the model {down.fp16_model_bytes:,} B; "
        f"pause {down.apply_pause_ms:.2g} ms"
    )
