"""The page of a run in a real browser: it is whole, quiet, fits its window and can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from driftline_lab.cli import app
from driftline_lab.report.browser import Browser, find_browser
from driftline_lab.report.page import report_page
from driftline_lab.runs.folder import read_run
from tests.fakes.browsers import complaints
from tests.fakes.runs import write_fake_run

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(find_browser() is None, reason="no Chromium (Debian: chromium)"),
]

CHECKS = (Path(__file__).parent / "page_checks.js").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser.start() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_fake_run(tmp_path_factory.mktemp("run"))
    path = folder / "report.html"
    path.write_text(report_page(read_run(folder)))
    return path


def look(browser: Browser, check: str) -> Any:
    return browser.evaluate(f"(() => {{{CHECKS}\nreturn {check}();}})()")


def requests(browser: Browser) -> set[str]:
    """Addresses asked for, but for what is inside the page."""
    asked = (e for e in browser.events if e.get("method") == "Network.requestWillBeSent")
    addresses = {event["params"]["request"]["url"] for event in asked}
    return {address for address in addresses if not address.startswith("data:")}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_whole_and_can_be_read(
    browser: Browser, page: Path, width: int, dark: bool
) -> None:
    browser.open(page, width=width, dark=dark)
    assert look(browser, "headings") == [
        "Timeline",
        "Domains",
        "Rounds",
        "Up and down",
        "What left the device",
        "Settings",
    ]
    assert look(browser, "tooWide") == []
    assert look(browser, "faintTexts") == []
    assert look(browser, "overlappingTexts") == []
    assert look(browser, "unnamed") == []
    assert look(browser, "brokenPictures") == []
    assert look(browser, "darkPaper") is dark
    assert requests(browser) == {page.as_uri()}
    assert complaints(browser) == []
    assert browser.screenshot().startswith(b"\x89PNG")


def test_hostile_texts_are_shown_and_not_run(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)
    assert look(browser, "foreignElements") == []
    assert '<script>fetch("http://example.invalid/x")</script>' in look(browser, "shownText")


def test_the_chart_shows_the_rounds_the_versions_and_every_point(
    browser: Browser, page: Path
) -> None:
    browser.open(page, width=1280)
    chart = look(browser, "chart")
    assert chart["rounds"][0] == "round 1 by count, 180 samples, done"
    assert [text.split(",")[0] for text in chart["rounds"]] == [
        "round 1 by count",
        "round 2",
        "round 3 by count",
        "round 4",
    ]
    assert chart["versions"] == ["v1", "v2"]
    assert len(chart["hovers"]) > 100 and "uncertainty" in chart["hovers"][0]
    assert chart["curves"] == ["accuracy", "uncertainty", "up", "down"]


def test_the_command_takes_a_picture(page: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.png"
    words = ["report", str(page.parent), "--screenshot", str(out), "--height", "700"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    with Image.open(out) as picture:
        assert (picture.format, picture.size) == ("PNG", (1280, 700))


def test_every_check_finds_what_it_looks_for(browser: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<body style="margin:0;background:#fff"><p style="width:2000px;color:#999">faint</p>'
        '<svg role="img" width=100 height=50><text x=5 y=20>one</text><text x=8 y=22>two</text>'
        '<image href="data:image/png;base64,AAAA"/></svg>'
        "<script>console.error('x'); fetch('http://127.0.0.1:9/x').catch(() => 0)</script>"
    )
    browser.open(bad, width=390)
    for check in ("tooWide", "faintTexts", "overlappingTexts", "unnamed", "brokenPictures"):
        assert look(browser, check) != [], check
    assert look(browser, "foreignElements") != []
    assert complaints(browser) != []
    assert requests(browser) == {bad.as_uri(), "http://127.0.0.1:9/x"}
