"""The owner's pages in a real browser: whole, quiet, in their window, and their forms work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from driftline_lab.report.browser import Browser, find_browser
from driftline_shared.errors import DriftlineError
from tests.fakes.api_device import Running, TalkingRuntime, request, running_device
from tests.fakes.browsers import complaints
from tests.fakes.waiting import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(find_browser() is None, reason="no Chromium (Debian: chromium)"),
]

WIDTHS = (1100, 390)

MARK = """(() => {
  const form = document.querySelector('form');
  form.querySelector('input[name=answer]').value = 'two';
  form.querySelector('button[value=wrong]').click();
})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser.start() as found:
        yield found


@pytest.fixture
def device(tmp_path: Path, pair_dir: Path, runtime: TalkingRuntime) -> Iterator[Running]:
    with running_device(tmp_path / "state", pair_dir, runtime) as running:
        for _ in range(3):
            assert running.ask(request())[0] == 200
        until(lambda: running.send("GET", "/history")[2].count("<li id=") == 3)
        yield running


def shown(browser: Browser, expression: str) -> Any:
    """Its value; None while the page makes way for the next one."""
    try:
        return browser.evaluate(f"document.readyState === 'complete' ? ({expression}) : null")
    except (DriftlineError, KeyError):
        return None


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True])
def test_pages_are_whole_and_fit(browser: Browser, device: Running, width: int, dark: bool) -> None:
    for path in ("/history", "/history?live=1", "/updates"):
        browser.open(f"http://127.0.0.1:{device.port}{path}", width=width, dark=dark)
        assert complaints(browser) == []
        assert shown(browser, "document.documentElement.scrollWidth") <= width
    browser.open(f"http://127.0.0.1:{device.port}/", width=width, dark=dark)
    assert shown(browser, "location.pathname") == "/history"
    until(lambda: shown(browser, "[...document.images].every(i => i.naturalWidth > 0)"))
    assert shown(browser, "document.images.length") == 3


def test_an_answer_is_marked_by_its_form(browser: Browser, device: Running) -> None:
    browser.open(f"http://127.0.0.1:{device.port}/history", width=WIDTHS[0])
    browser.evaluate(MARK)
    said = "document.body.innerText.includes('you said: wrong, right is two')"
    until(lambda: shown(browser, said))
    assert shown(browser, "location.pathname") == "/history"
    assert shown(browser, "document.querySelector(':target') !== null")
    browser.open(f"http://127.0.0.1:{device.port}/history?marked=1", width=WIDTHS[0])
    assert shown(browser, "document.querySelectorAll('.answers li').length") == 1
