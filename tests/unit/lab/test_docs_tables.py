"""Tables between markers come from results; one that does not is found and made anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_lab.cli import app
from driftline_lab.docs_tables.page import Page, Rows, pages
from driftline_lab.docs_tables.table import TABLES
from driftline_shared.errors import DataError

ROOT = Path(__file__).resolve().parents[3]
MARKED = "<!-- table: {} -->\n{}<!-- /table -->\n"


def numbers(page: Page) -> Rows:
    result = page.result("one")
    return [["name", "value"], *([name, str(value)] for name, value in result.items())]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "experiments/results").mkdir(parents=True)
    (tmp_path / "experiments/results/one.json").write_text('{"a": 1, "b": ""}')
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("No table.\n")
    return tmp_path


def write_page(root: Path, body: str) -> Page:
    (root / "docs/page.md").write_text(body)
    (page,) = pages(root)
    return page


def test_a_stale_table_is_found_and_made_anew(root: Path) -> None:
    around = ("# Before\n\n", "\nAfter | it.\n")
    page = write_page(root, MARKED.format("numbers", "| old |\n").join(around))
    tables = {"numbers": numbers}
    assert list(page.stale(tables)) == ["numbers"]
    page.refresh(tables)
    fresh = MARKED.format("numbers", "| name | value |\n|---|---|\n| a | 1 |\n| b | |\n")
    assert page.file.read_text() == fresh.join(around)
    assert list(page.stale(tables)) == []
    (root / "experiments/results/one.json").write_text('{"a": 2, "b": ""}')
    assert list(page.stale(tables)) == ["numbers"]


def test_links_start_at_the_document(root: Path) -> None:
    page = write_page(root, MARKED.format("numbers", ""))
    assert page.link("one") == "[one.json](../experiments/results/one.json)"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (MARKED.format("other", ""), "no table 'other'"),
        ("<!-- table: numbers -->\n| a |\n", "do not come in pairs"),
        (MARKED.format("numbers", MARKED.format("numbers", "")), "do not come in pairs"),
    ],
)
def test_wrong_markers_are_refused(root: Path, body: str, message: str) -> None:
    page = write_page(root, body)
    with pytest.raises(DataError, match=message):
        list(page.stale({"numbers": numbers}))


def test_results_that_cannot_be_read_are_named(root: Path) -> None:
    page = write_page(root, MARKED.format("numbers", ""))
    (root / "experiments/results/one.json").write_text("{")
    with pytest.raises(DataError, match=r"one\.json"):
        list(page.stale({"numbers": numbers}))


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="top of a checkout"):
        pages(tmp_path)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_rectangular_and_says_what_its_results_say(name: str, root: Path) -> None:
    committed = ROOT / "experiments/results"
    page = Page(root=ROOT, file=ROOT / "README.md")
    rows = TABLES[name](page)
    assert len({len(row) for row in rows}) == 1
    # Other results, another table: every number of the files a little larger, and where a table
    # counts, the counts.
    more = 2 if name.startswith(("chaos-", "fuzz-")) else 1
    for file in committed.rglob("*.json"):
        larger = json.loads(
            file.read_text(),
            parse_float=lambda text: float(text) * 1.5,
            parse_int=lambda text: int(text) * more,
        )
        copy = root / "experiments/results" / file.relative_to(committed)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(json.dumps(larger))
    # Budgets of compressors are floats, too, and choose the rows; what code says is no result.
    if not name.startswith(
        ("compress-", "settings-", "trace-columns", "replay-links", "replay-times")
    ):
        assert TABLES[name](Page(root=root, file=root / "README.md")) != rows


def test_the_command_says_which_table_is_stale(root: Path) -> None:
    for file in (ROOT / "experiments/results").glob("*.json"):
        (root / "experiments/results" / file.name).write_text(file.read_text())
    page = write_page(root, MARKED.format("runtimes", ""))
    command = ["docs", "--root", str(root)]
    before = page.file.read_text()
    checked = CliRunner().invoke(app, [*command, "--check"])
    assert checked.exit_code == 1
    assert "page.md: table runtimes is stale" in checked.output
    assert page.file.read_text() == before
    assert CliRunner().invoke(app, command).exit_code == 0
    checked = CliRunner().invoke(app, [*command, "--check"])
    assert (checked.exit_code, checked.output) == (0, "")


def test_every_table_is_in_a_document() -> None:
    text = "".join(page.file.read_text() for page in pages(ROOT))
    assert [name for name in TABLES if f"<!-- table: {name} -->" not in text] == []
