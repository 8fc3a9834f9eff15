"""The operator's pages in a real browser: whole, quiet and in their window; the search works."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from driftline_cloud.intake.database import Database
from driftline_cloud.intake.devices import DeviceRegister
from driftline_lab.report.browser import Browser, find_browser
from driftline_shared.status import Enrolment
from tests.fakes.browsers import complaints
from tests.fakes.cloud_pages import shown_pages
from tests.fakes.waiting import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(find_browser() is None, reason="no Chromium (Debian: chromium)"),
]

HOSTILE = "<script>document.title='taken'</script>" + "x" * 80
PATHS = (
    "/",
    "/?live=1",
    "/rounds",
    "/versions",
    "/devices",
    f"/devices/one?id={quote(HOSTILE, safe='')}",
    "/quarantine",
    "/corrections",
    "/rounds/none",
)
SEARCH = """(() => {
  document.querySelector('input[name=search]').value = 'door';
  document.querySelector('form button').click();
})()"""


def test_pages_are_whole_fit_their_window_and_run_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cloud.sqlite'}"
    database = Database(url)
    register = DeviceRegister(database)
    for name in (HOSTILE, "door", "camera"):
        enrolment = Enrolment(
            device_id=name, pair="p", token_space="t", base_model="b", adapter_version=0
        )
        register.enrol(enrolment, "line-1", now_unix_s=1_700_000_000)
    database.close()
    with shown_pages(url) as shown, Browser.start() as browser:
        for width, dark, paths in ((390, False, PATHS), (1200, True, PATHS[:1])):
            for path in paths:
                browser.open(f"http://127.0.0.1:{shown.port}{path}", width=width, dark=dark)
                missing = path == "/rounds/none"  # a browser's console tells of its status
                assert missing or complaints(browser) == [], path
                assert browser.evaluate("document.documentElement.scrollWidth") <= width, path
                assert browser.evaluate("document.title") != "taken"
        browser.open(f"http://127.0.0.1:{shown.port}/devices", width=1200)
        browser.evaluate(SEARCH)
        rows = "document.readyState === 'complete' && document.querySelectorAll('tbody tr').length"
        until(lambda: browser.evaluate(rows) == 1)
        assert "search=door" in browser.evaluate("location.search")
