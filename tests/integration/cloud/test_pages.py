"""The operator's pages over HTTP: read alone, to this machine alone, each also as JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import ValidationError

from driftline_cloud.config import CloudConfig
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.devices import DeviceRegister
from driftline_cloud.page.settings import PageSettings
from driftline_cloud.service.pages_beside import pages_beside
from driftline_shared.host.loopback import free_port
from driftline_shared.status import Enrolment
from tests.fakes.cloud_pages import Shown, shown_pages
from tests.fakes.html import Reader
from tests.fakes.waiting import until

pytestmark = pytest.mark.integration

HOSTILE = "<img src=x onerror=alert(1)>/?&#"
PATHS = ("/", "/rounds", "/versions", "/devices", "/quarantine", "/corrections", "/members", "/log")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('pages') / 'cloud.sqlite'}"


@pytest.fixture(scope="module")
def shown(url: str) -> Iterator[Shown]:
    database = Database(url)
    register = DeviceRegister(database)
    for name in (HOSTILE, *(f"d{number:03}" for number in range(120))):
        enrolment = Enrolment(
            device_id=name, pair="p", token_space="t", base_model="b", adapter_version=0
        )
        register.enrol(enrolment, "line-1", now_unix_s=1_700_000_000)
    database.close()
    with shown_pages(url, hosts=["ops.example"]) as found:
        yield found


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_whole_strict_and_also_json(shown: Shown, path: str) -> None:
    status, headers, page = shown.get(path)
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    read = Reader(page)
    assert "script" not in read.names
    for address in read.addresses:
        assert address.startswith(("/", "data:,")), address
    status, headers, text = shown.get(f"{path}?format=json")
    assert status == 200 and headers["content-type"] == "application/json"
    assert isinstance(json.loads(text), dict)


def test_devices_are_paged_and_searched(shown: Shown) -> None:
    _, _, page = shown.get("/devices")
    assert "1 to 50 of 121" in Reader(page).text
    found = json.loads(shown.get("/devices?format=json&limit=1000&offset=100")[2])
    assert (found["num_devices"], len(found["devices"])) == (121, 21)
    found = json.loads(shown.get("/devices?format=json&search=d11")[2])
    assert [one["device_id"] for one in found["devices"]] == [f"d11{each}" for each in range(10)]
    for asked, right in (
        ("limit=99999", "from 1 to 1,000, not '99999'"),
        ("limit=0", "from 1"),
        ("offset=x", "from 0 to 1,000,000,000, not 'x'"),
        ("offset=-1", "from 0"),
        ("offset=%D9%A1", "from 0"),
    ):
        status, _, told = shown.get(f"/devices?format=json&{asked}")
        assert status == 400 and right in json.loads(told)["error"], asked
        assert shown.get(f"/rounds?{asked}")[0] == 400


def test_a_device_with_a_hostile_id_has_a_page(shown: Shown) -> None:
    status, _, page = shown.get(f"/devices/one?id={quote(HOSTILE, safe='')}")
    assert status == 200
    read = Reader(page)
    assert "img" not in read.names and HOSTILE in read.text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8090", 200),
        ("127.0.0.1", 200),
        ("[::1]:8090", 200),
        ("ops.example", 200),
        ("OPS.example:80", 200),
        ("evil.example", 403),
        ("[", 403),
        ("localhost.evil.example", 403),
    ],
)
def test_a_name_that_a_stranger_points_here_opens_nothing(
    shown: Shown, host: str, status: int
) -> None:
    found, headers, page = shown.get("/devices", host=host)
    assert found == status
    assert "content-security-policy" in headers
    assert ("d001" in page) is (status == 200)


@pytest.mark.parametrize("path", ["/nothing", "/rounds/none", "/devices/one?id=nobody"])
def test_what_is_not_there_is_a_sentence(shown: Shown, path: str) -> None:
    status, _, page = shown.get(path)
    assert status == 404 and 'class="held"' in page
    mark = "&" if "?" in path else "?"
    assert set(json.loads(shown.get(f"{path}{mark}format=json")[2])) == {"error"}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(shown: Shown, method: str) -> None:
    assert shown.get("/devices", method=method)[0] == 405


def test_a_database_that_goes_away_is_a_sentence_and_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "cloud.sqlite"
    url = f"sqlite:///{file}"
    Database(url).close()
    with shown_pages(url) as shown:
        assert shown.get("/rounds")[0] == 200
        database = Database(url)
        with database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE rounds RENAME TO away")
        status, _, page = shown.get("/rounds")
        assert status == 503 and "cannot be read" in page
        with database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO rounds")
        assert shown.get("/rounds")[0] == 200
        database.close()


def test_off_loopback_a_name_is_needed() -> None:
    with pytest.raises(ValidationError, match="no password"):
        PageSettings(listen="0.0.0.0:8090")
    assert PageSettings(listen="0.0.0.0:8090", hosts=("ops.example",)).hosts


def is_up(port: int) -> bool:
    try:
        return Shown(port).get("/health")[0] == 200
    except OSError:
        return False


def test_pages_beside_a_cloud_come_again_when_they_are_killed_and_go_with_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    config = CloudConfig.model_validate(
        {
            "state": tmp_path,
            "page": {"listen": f"127.0.0.1:{port}"},
            "work": {"restart_s": 0.1},
        }
    )
    Database(config.database).close()
    pids = tmp_path / "pids"
    noting = (
        f"import os, pathlib; pathlib.Path({str(pids)!r}).open('a').write(f'{{os.getpid()}} ');"
        "from driftline_cloud.page.__main__ import main; raise SystemExit(main())"
    )
    with pages_beside(config, (sys.executable, "-c", noting)):
        until(lambda: is_up(port), timeout_s=60)
        os.kill(int(pids.read_text().split()[-1]), signal.SIGKILL)
        until(lambda: len(pids.read_text().split()) == 2 and is_up(port), timeout_s=60)
    assert not is_up(port)
    # Of itself, and in order: nothing is said of a fault.
    assert "Fatal" not in capfd.readouterr().err
