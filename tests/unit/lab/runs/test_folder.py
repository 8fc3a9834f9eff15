"""A run folder: written and read it is the same, byte for byte; what is wrong in it is named."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline_lab.runs.canonical import from_bytes, to_bytes
from driftline_lab.runs.folder import (
    Run,
    need_new_run_folder,
    need_run_folder,
    read_run,
    write_run,
)
from driftline_lab.runs.run import (
    SCHEMA,
    DomainAccuracy,
    Metrics,
    Picture,
    RunInfo,
    RunRound,
    RunUpdate,
    TimelineRow,
    Timings,
    UplinkTotals,
)
from driftline_shared.errors import ConfigError, DataError

PNG = b"\x89PNG\r\n\x1a\n"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
FLOATS = st.floats(-1e300, 1e300)
SHARES = st.floats(0.0, 1.0)
COUNTS = st.integers(0, 2**40)
NUMBERS = st.dictionaries(TEXTS, FLOATS | st.integers(-9, 9), max_size=3)
METRICS = st.builds(
    Metrics,
    accuracy=st.dictionaries(
        TEXTS,
        st.builds(DomainAccuracy, before=SHARES, after=SHARES, teacher=st.none() | SHARES),
        max_size=3,
    ),
    uplink=st.builds(
        UplinkTotals, seen=st.integers(2**20, 2**40), sent=st.integers(0, 2**20), bytes=COUNTS
    ),
    rounds=st.lists(
        st.builds(
            RunRound, number=COUNTS, state=TEXTS, num_samples=COUNTS, reason=TEXTS, numbers=NUMBERS
        ),
        max_size=2,
    ).map(tuple),
    updates=st.lists(
        st.builds(RunUpdate, version=COUNTS, digest=TEXTS, bytes=COUNTS), max_size=2
    ).map(tuple),
    numbers=NUMBERS,
)
ROW = st.builds(
    TimelineRow,
    n=st.just(0),
    domain=TEXTS,
    correct=st.none() | st.booleans(),
    uncertainty=st.none() | FLOATS,
    version=COUNTS,
    sent=st.booleans(),
    bytes=COUNTS,
    text=TEXTS,
)
ROWS = st.lists(ROW, max_size=4)
TREES = st.recursive(
    st.none() | st.booleans() | COUNTS | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)


def info(**changes: Any) -> RunInfo:
    return RunInfo(**{"kind": "demo", "pair": "tiny", "seed": 0, **changes})


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def write_again(run: Run, folder: Path) -> None:
    pictures = {each: run.picture_bytes(each) for each in run.pictures}
    write_run(folder, run.info, run.metrics, run.timings, run.timeline(), pictures)


@given(value=METRICS | ROW | st.builds(Timings, seconds=NUMBERS))
def test_equal_values_are_equal_bytes_and_come_back(value: Any) -> None:
    data = to_bytes(value)
    read = from_bytes(data, type(value), place="here")
    assert read == value
    assert to_bytes(read) == data == to_bytes(copy.deepcopy(value))


@settings(max_examples=4, deadline=None)
@given(metrics=METRICS, rows=ROWS, tree=st.dictionaries(TEXTS, TREES, max_size=2), seconds=NUMBERS)
def test_written_read_and_written_is_the_same(
    metrics: Metrics, rows: list[TimelineRow], tree: dict[str, Any], seconds: dict[str, float]
) -> None:
    numbered = [numbered_row(row, n) for n, row in enumerate(rows, start=1)]
    picture = Picture(file="a.png", question="q", answer="a", rows=1, cols=2, kept=(1,))
    with tempfile.TemporaryDirectory() as name:
        first, second = Path(name) / "first", Path(name) / "second"
        timings = Timings(seconds=seconds)
        write_run(first, info(settings=tree), metrics, timings, numbered, {picture: PNG})
        run = read_run(first)
        assert (run.metrics, run.info.settings, run.timings) == (metrics, tree, timings)
        assert list(run.timeline()) == numbered
        write_again(run, second)
        assert files(first) == files(second)


def numbered_row(row: TimelineRow, n: int) -> TimelineRow:
    values = {name: getattr(row, name) for name in TimelineRow.__dataclass_fields__}
    return TimelineRow(**{**values, "n": n})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_run(
        tmp_path,
        info(),
        Metrics(accuracy={"night": DomainAccuracy(before=0.5, after=0.7, teacher=0.9)}),
        Timings(),
        [TimelineRow(n=1, uncertainty=0.25), TimelineRow(n=2)],
        {Picture(file="a.png", question="q", answer="a", rows=2, cols=2, kept=(3,)): PNG},
    )
    return tmp_path


def test_equal_numbers_are_equal_bytes(tmp_path: Path) -> None:
    for name, value in (("a", 3), ("b", 3.0)):
        write_run(tmp_path / name, info(), Metrics(numbers={"x": value}), Timings(), [])
    for name, value in (("c", 0.0), ("d", -0.0)):
        write_run(tmp_path / name, info(), Metrics(numbers={"x": value}), Timings(), [])
    texts = [(tmp_path / name / "metrics.json").read_bytes() for name in "abcd"]
    assert texts[0] == texts[1] and texts[2] == texts[3] and texts[1] != texts[2]
    assert texts[0].endswith(b"}\n")


def test_recovered_is_computed_and_not_believed(folder: Path) -> None:
    change(folder / "metrics.json", lambda found: found["accuracy"]["night"].update(recovered=9))
    assert read_run(folder).metrics.accuracy["night"].recovered == pytest.approx(0.5)


@pytest.mark.parametrize(("before", "teacher"), [(0.5, None), (0.5, 0.5), (0.5, 0.4)])
def test_nothing_is_recovered_where_there_is_no_gap(before: float, teacher: float | None) -> None:
    assert DomainAccuracy(before=before, after=1.0, teacher=teacher).recovered is None


def change(path: Path, edit: Callable[[Any], object]) -> None:
    found = json.loads(path.read_text())
    edit(found)
    path.write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("file", "edit", "named"),
    [
        ("run.json", lambda found: found.update(schema=SCHEMA + 1, seed="?"), "newer driftline"),
        ("run.json", lambda found: found.update(kind="walk"), "kind"),
        ("run.json", lambda found: found.pop("seed"), "seed"),
        ("metrics.json", lambda found: found["accuracy"]["night"].update(after="1"), "night.after"),
        ("metrics.json", lambda found: found["accuracy"]["night"].update(after=7.0), "night.after"),
        ("metrics.json", lambda found: found["uplink"].update(sent=-1), "uplink.sent"),
        ("metrics.json", lambda found: found["uplink"].update(bytes=10**400), "uplink.bytes"),
        ("metrics.json", lambda found: found["uplink"].update(sent=5), "uplink.sent: 5 samples"),
        (
            "metrics.json",
            lambda found: found["numbers"].update(x=1.7e308),
            r"numbers.x: .* 1e\+300$",
        ),
        ("metrics.json", lambda found: found["numbers"].update(x=10**400), "numbers.x"),
    ],
)
def test_a_wrong_field_is_named(
    folder: Path, file: str, edit: Callable[[Any], object], named: str
) -> None:
    change(folder / file, edit)
    with pytest.raises(DataError, match=named) as caught:
        read_run(folder)
    assert file in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"n": 1}\n{"n": 3}\n', "line 2: n is 3"),
        ('{"n": 1}\n{"n": 2, "sent": 1}\n', "line 2: sent"),
        ('{"n": 1}\n{"n": 2', "line 2: cut off"),
        ('{"n": 1, "bytes": 1' + "0" * 400 + "}\n", "line 1: bytes"),
        ('{"n": 1, "uncertainty": 1.7e308}\n', "line 1: uncertainty"),
        ('{"n": 1, "text": "' + "x" * (64 << 10) + '"}\n', "line 1: longer"),
    ],
)
def test_a_wrong_line_of_the_timeline_is_named(folder: Path, text: str, named: str) -> None:
    (folder / "timeline.jsonl").write_text(text)
    with pytest.raises(DataError, match=named):
        list(read_run(folder).timeline())


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("rows", 2**40, "rows, cols: the grid has more"),
        ("kept", [4], "kept"),
        ("file", "../x", "file"),
        ("rows", 0, "rows"),
        ("file", "", "file"),
    ],
)
def test_a_wrong_picture_is_named(folder: Path, name: str, value: Any, named: str) -> None:
    change(folder / "pictures" / "pictures.jsonl", lambda found: found.update({name: value}))
    index = folder / "pictures" / "pictures.jsonl"
    index.write_text(index.read_text() + "\n")
    with pytest.raises(DataError, match=f"line 1: {named}"):
        read_run(folder)


def test_a_picture_is_neither_a_link_nor_another_kind_of_file(folder: Path) -> None:
    run, file = read_run(folder), folder / "pictures" / "a.png"
    file.write_bytes(b"root:x:0:0")
    with pytest.raises(DataError, match=r"a\.png is neither a PNG nor a JPEG"):
        run.picture_bytes(run.pictures[0])
    file.rename(folder / "elsewhere")
    file.symlink_to(folder / "elsewhere")
    with pytest.raises(DataError, match=r"a\.png is a link"):
        run.picture_bytes(run.pictures[0])


def test_pictures_behind_a_link_are_not_read_nor_written_over(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside, pictures = tmp_path_factory.mktemp("outside") / "p", folder / "pictures"
    run = read_run(folder)
    pictures.rename(outside)
    pictures.symlink_to(outside)
    with pytest.raises(DataError, match="pictures is a link"):
        read_run(folder)
    with pytest.raises(DataError, match="is a link"):
        run.picture_bytes(run.pictures[0])
    write_run(folder, run.info, run.metrics, run.timings, [], {run.pictures[0]: PNG + b"new"})
    assert (outside / "a.png").read_bytes() == PNG
    index = pictures / "pictures.jsonl"
    index.unlink()
    index.symlink_to(outside / "pictures.jsonl")
    with pytest.raises(DataError, match=r"pictures\.jsonl is a link"):
        read_run(folder)


def test_where_no_folder_can_be_is_said_before_and_while_writing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ConfigError, match=r"cannot be written: .*; name another with --out"):
            need_run_folder(place)
    (tmp_path / "run" / "metrics.json").mkdir(parents=True)
    with pytest.raises(ConfigError, match="it holds no whole run now"):
        write_run(tmp_path / "run", info(), Metrics(), Timings(), [])
    assert (tmp_path / "file").read_text() == "kept"


def test_a_new_run_is_not_put_over_another(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "new"):
        need_new_run_folder(place)
    before = sorted(folder.iterdir())
    with pytest.raises(ConfigError, match="holds another run already: give a new or an empty"):
        need_new_run_folder(folder)
    assert sorted(folder.iterdir()) == before
    (tmp_path / "new" / "note").write_text("")
    with pytest.raises(ConfigError, match="holds something already"):
        need_new_run_folder(tmp_path / "new")


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "timings.json"])
@pytest.mark.parametrize("text", ["", "[]", "nonsense", "[" * 100_000])
def test_a_broken_document_is_named(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=name):
        read_run(folder)


def test_a_folder_without_a_run_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no run\.json") as caught:
        read_run(tmp_path)
    assert "`driftline demo`" in caught.value.fix


def test_a_run_that_could_not_be_written_is_none(folder: Path) -> None:
    with pytest.raises(DataError, match=r"Metrics: numbers\.x"):
        write_run(folder, info(), Metrics(numbers={"x": float("nan")}), Timings(), [])
    with pytest.raises(DataError, match="no run folder"):
        read_run(folder)


def test_a_run_takes_the_place_of_the_one_before(folder: Path) -> None:
    write_run(folder, info(seed=1), Metrics(), Timings(), [])
    run = read_run(folder)
    assert run.info.seed == 1 and run.pictures == () and list(run.timeline()) == []
    assert not (folder / "pictures").exists()
