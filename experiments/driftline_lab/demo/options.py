"""What a demo is: its data, its two programs' settings, how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from driftline_lab.data.domains import SOURCE
from driftline_lab.data.streams import Segment
from driftline_lab.data.worlds import EASYVQA, World
from driftline_lab.demo.evaluate import TestSet, read_test_set
from driftline_lab.demo.paces import PACES, Pace
from driftline_shared.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoOptions:
    """Everything a run depends on.

    `world`: the data set of the stream, `segments` its domains in turn. `questions`: per segment;
    the source segment takes half, since nothing is learnt there. `tests`: held-out questions of
    each domain. `uplink_share`: most samples sent per sample seen. `token_share`: tokens kept of
    each. `data`: a user's own stream, instead of `segments`. `pace`: steps and what else follows
    from the size of the pair. `cloud_settings`, `device_settings`: key=value, for either program.
    `owner_marks`: answers that a scripted owner marks.
    `state`: a folder no demo has used. `out`: of the run folder, if one is wanted.
    """

    pair: str = "tiny"
    world: World = EASYVQA
    seed: int = 0
    workers: str = "local"
    segments: tuple[str, ...] = ("source", "night", "sketch")
    questions: int = 1200
    tests: int = 500
    uplink_share: float = 0.3
    token_share: float = 0.5
    data: Path | None = None
    pace: Pace = PACES["tiny"]
    cloud_settings: tuple[str, ...] = ()
    device_settings: tuple[str, ...] = ()
    owner_marks: int = 0
    state: Path
    out: Path | None = None


@dataclass(frozen=True, kw_only=True)
class DemoData:
    """`stream`: the file the device streams, of `num_rows`; test sets, the source first."""

    stream: Path
    num_rows: int
    tests: list[TestSet]


def prepare_data(options: DemoOptions) -> DemoData:
    """Write the synthetic stream, or read the user's; raises DataError for what is missing."""
    if options.data is None:
        folder = options.state / "data"
        segments = [
            Segment(
                domain=name,
                num_questions=options.questions // 2 if name == SOURCE else options.questions,
            )
            for name in options.segments
        ]
        options.world.write(folder, segments, seed=options.seed, num_test=options.tests)
    else:
        folder = options.data
    stream = folder / "stream.jsonl"
    for name in ("stream.jsonl", "test.jsonl", "source_test.jsonl"):
        if not (folder / name).is_file():
            raise DataError(
                f"{folder / name} is missing: a data folder holds stream.jsonl, test.jsonl and "
                'source_test.jsonl with rows {"image", "question", "answer"}'
            )
    tests = [read_test_set(SOURCE, folder / "source_test.jsonl")]
    tests += _by_domain(read_test_set(folder.resolve().name, folder / "test.jsonl"))
    with stream.open("rb") as rows:
        num_rows = sum(1 for row in rows if row.strip())
    return DemoData(stream=stream, num_rows=num_rows, tests=tests)


def _by_domain(test: TestSet) -> list[TestSet]:
    """One set a domain the rows name; rows that name none keep the set's own name."""
    names = dict.fromkeys(row.domain or test.domain for row in test.rows)
    return [
        TestSet(
            domain=name,
            rows=[row for row in test.rows if (row.domain or test.domain) == name],
        )
        for name in names
    ]
