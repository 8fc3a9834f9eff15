"""Orders on the operator's pages: by who signed in, from our own pages, each in the log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from driftline_cloud.intake.database import Database
from driftline_cloud.rollout.audit import entries
from driftline_cloud.rollout.orders import RolloutOrders
from driftline_cloud.rollout.plan import RolloutSettings
from driftline_cloud.rollout.store import RolloutStore
from driftline_cloud.trust.issuer import Role
from driftline_cloud.trust.members import Members, State
from driftline_cloud.trust.tokens import EnrolTokens
from driftline_shared.host.clock import SystemClock
from tests.fakes.cloud_pages import Shown, shown_pages
from tests.fakes.html import Reader

pytestmark = pytest.mark.integration

KEY = "the key of this cloud, long enough"
READER = "the key of who may look, long enough"
KEYS = {Role.OPERATOR: KEY, Role.READER: READER}
DEVICE = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Bench:
    """Pages with orders over a database with a pending device and a version that waits."""

    shown: Shown
    database: Database

    def sign_in(self, name: str = "anna", key: str = KEY) -> str:
        """The cookie of a session."""
        status, headers, _ = self.shown.send("/enter", {"key": key, "name": name})
        assert status == 303 and headers["location"] == "/"
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
        return cookie.partition(";")[0]

    def word(self, cookie: str, path: str = "/members") -> str:
        """What the forms of that session say."""
        found = re.search(
            r'name="word" value="([0-9a-f]+)"', self.shown.get(path, cookie=cookie)[2]
        )
        assert found is not None
        return found[1]

    def state(self) -> State:
        """Of the device."""
        (one,) = Members(self.database).listed()
        return one.state


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    url = f"sqlite:///{tmp_path / 'cloud.sqlite'}"
    database = Database(url)
    Members(database).ask(DEVICE, label="<porch>", token="", now_unix_s=1)
    RolloutOrders(database, SystemClock()).begin(
        "line-1", 1, round_id="r1", base_version=0, settings=RolloutSettings(approval=True)
    )
    with shown_pages(url, keys=KEYS, orders=True) as shown:
        yield Bench(shown, database)
    database.close()


def test_a_device_is_let_in_and_shut_out(bench: Bench) -> None:
    cookie = bench.sign_in()
    page = bench.shown.get("/members", cookie=cookie)[2]
    assert DEVICE in page and "&lt;porch&gt;" in page and "anna" in page
    form = {"word": bench.word(cookie), "about": DEVICE, "back": "/members"}
    for order, state in (("accept", State.ACCEPTED), ("revoke", State.REVOKED)):
        status, headers, _ = bench.shown.send("/orders", {**form, "order": order}, Cookie=cookie)
        assert (status, headers["location"]) == (303, "/members")
        assert bench.state() is state
    done = entries(bench.database)
    assert [(one.who, one.action, one.detail) for one in done[:2]] == [
        ("anna (page)", "revoke", DEVICE),
        ("anna (page)", "accept", DEVICE),
    ]


def test_a_version_is_approved_and_what_cannot_be_is_a_sentence(bench: Bench) -> None:
    cookie = bench.sign_in("")
    form = {"word": bench.word(cookie), "about": "line-1", "why": "seen <well>"}
    back = "/versions?line=line-1"
    reply = bench.shown.send("/orders", {**form, "order": "approve", "back": back}, Cookie=cookie)
    assert (reply[0], reply[1]["location"]) == (303, back)
    assert not RolloutStore(bench.database).newest("line-1", limit=1)[0].state.endswith("approval")
    assert entries(bench.database)[0].who == "operator (page)"
    status, _, page = bench.shown.send("/orders", {**form, "order": "approve"}, Cookie=cookie)
    assert status == 409 and "Not shown (409)" in page
    for order in ("", "drop", "rollback", "__class__"):
        assert bench.shown.send("/orders", {**form, "order": order}, Cookie=cookie)[0] == 409


def test_nobody_else_gives_orders(bench: Bench) -> None:
    cookie = bench.sign_in()
    form = {"word": bench.word(cookie), "order": "accept", "about": DEVICE}
    other = bench.sign_in("eve")

    def send(given: dict[str, str] | bytes = form, **headers: str) -> int:
        return bench.shown.send("/orders", given, **headers)[0]

    assert send() == 403
    assert send(Cookie=cookie[:-1]) == 403
    assert send(Cookie=other) == 403  # a word of another session
    assert send({**form, "word": ""}, Cookie=cookie) == 403
    assert send(Cookie=cookie, Origin="http://evil.example") == 403
    assert send(Cookie=cookie, Origin="null") == 403
    assert send(Cookie=cookie, Origin="http://[") == 403
    assert send(Cookie=cookie, Sec_Fetch_Site="cross-site") == 403
    assert send(Cookie=cookie, Sec_Fetch_Site="same-site") == 403  # another port of this machine
    assert send(Cookie=cookie, Host="evil.example") == 403
    assert send(Cookie=cookie, Content_Type="text/plain") == 415
    assert send(b"why=" + b"x" * 5_000, Cookie=cookie) == 413
    assert send(b"&" * 100, Cookie=cookie) == 413
    assert bench.shown.get("/orders", cookie=cookie)[0] == 405
    assert bench.state() is State.PENDING
    assert bench.shown.send("/enter", {"key": "guessed"})[0] == 403
    own = f"http://127.0.0.1:{bench.shown.port}"
    assert send(Cookie=cookie, Origin=own, Sec_Fetch_Site="same-origin") == 303
    assert bench.state() is State.ACCEPTED


def test_a_form_leads_nowhere_else_and_signing_out_ends_the_session(bench: Bench) -> None:
    cookie = bench.sign_in()
    form = {"word": bench.word(cookie), "order": "accept", "about": DEVICE}
    for back in ("//evil.example/", "https://evil.example", "/\\evil.example", "javascript:x"):
        reply = bench.shown.send("/orders", {**form, "back": back}, Cookie=cookie)
        assert (reply[0], reply[1]["location"]) == (303, "/")
    assert bench.shown.send("/leave", {"word": "x"}, Cookie=cookie)[0] == 403
    status, headers, _ = bench.shown.send("/leave", {"word": form["word"]}, Cookie=cookie)
    assert status == 303 and '=""' in headers["set-cookie"]


def test_who_may_look_sees_no_form_and_is_refused_orders(bench: Bench) -> None:
    cookie = bench.sign_in("ben", READER)
    for path in ("/", "/members", "/versions?line=line-1"):
        page = bench.shown.get(path, cookie=cookie)[2]
        assert 'action="/orders"' not in page and "ben (may look)" in page
    form = {"word": bench.word(cookie), "order": "accept", "about": DEVICE}
    status, _, page = bench.shown.send("/orders", form, Cookie=cookie)
    assert status == 403 and "you may look and give no orders" in page
    assert bench.state() is State.PENDING
    operator = bench.sign_in()
    assert bench.shown.send("/orders", form, Cookie=operator)[0] == 403  # a reader's word
    assert bench.shown.send("/leave", {"word": form["word"]}, Cookie=cookie)[0] == 303


def test_an_operators_revocation_takes_a_tick(bench: Bench) -> None:
    members, name = Members(bench.database), "f" * 32
    members.add(name, label="this machine", role=Role.OPERATOR, now_unix_s=1)
    cookie = bench.sign_in()
    assert "whose commands the cloud will refuse" in bench.shown.get("/members", cookie=cookie)[2]
    form = {"word": bench.word(cookie), "order": "revoke", "about": name}
    status, _, page = bench.shown.send("/orders", form, Cookie=cookie)
    assert status == 409 and "is an operator&#x27;s" in page and not members.revoked()
    assert bench.shown.send("/orders", {**form, "sure": "yes"}, Cookie=cookie)[0] == 303
    assert members.revoked() == {name}


def test_what_was_done_to_whom_is_a_page(bench: Bench) -> None:
    cookie = bench.sign_in()
    EnrolTokens(bench.database).make(uses=3, ttl_s=60, label="<hall>", now_unix_s=1, who="carl")
    form = {"word": bench.word(cookie), "about": DEVICE, "order": "accept"}
    assert bench.shown.send("/orders", form, Cookie=cookie)[0] == 303
    text = Reader(bench.shown.get("/log")[2]).text
    for word in ("anna (page)", "accept", DEVICE, "carl", "invite", "3 devices", "<hall>"):
        assert word in text, word
    found = json.loads(bench.shown.get("/log?format=json&limit=1")[2])["entries"]
    assert [(one["who"], one["action"]) for one in found] == [("anna (page)", "accept")]


def test_private_pages_are_shown_to_who_signed_in(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cloud.sqlite'}"
    database = Database(url)
    Members(database).ask(DEVICE, label="porch", token="", now_unix_s=1)
    database.close()
    with shown_pages(url, keys=KEYS, private=True) as shown:
        for path in ("/", "/members", "/devices/one?id=x", "/log"):
            status, headers, page = shown.get(path)
            assert (status, headers["location"]) == (303, "/enter") and DEVICE not in page
        assert shown.get("/members?format=json")[0] == 401
        for key, status in ((READER, 200), (KEY, 200), ("guessed", 401)):
            told = {"Authorization": f"Bearer {key}"}
            assert shown.get("/members?format=json", headers=told)[0] == status
        _, headers, _ = shown.send("/enter", {"key": READER, "name": "ben"})
        cookie = headers["set-cookie"].partition(";")[0]
        assert DEVICE in shown.get("/members", cookie=cookie)[2]
        assert shown.send("/orders", {}, Cookie=cookie)[0] in (404, 405)


def test_who_is_not_signed_in_sees_no_button(bench: Bench) -> None:
    for path in ("/", "/members", "/versions?line=line-1"):
        page = bench.shown.get(path)[2]
        assert 'action="/orders"' not in page and 'href="/enter"' in page
    assert 'action="/enter"' in bench.shown.get("/enter")[2]


def test_pages_that_let_no_orders_know_no_way_in(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cloud.sqlite'}"
    Database(url).close()
    with shown_pages(url) as shown:
        assert shown.get("/enter")[0] == 404
        assert shown.send("/orders", {})[0] in (404, 405)
        assert "nothing here changes it" in shown.get("/members")[2]
